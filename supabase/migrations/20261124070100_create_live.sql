-- Sending frames to Realtime in the caller's transaction, and knowing that they were written:
-- realtime.send turns every error into a WARNING that no API caller sees.

-- A row as the wire object of docs/protocol.md section 1. `data` stays a JSON string, so that
-- no JSON library on the way can re-form it.
create or replace function crossfade.wire_v1(event crossfade.events) returns jsonb
language plpgsql stable strict parallel safe
set search_path = ''
as $$
begin
  return jsonb_build_object(
    'id', event.id, 'source', event.source, 'type', event.type,
    'time', to_char(event."time" at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'subject', event.subject, 'category', event.category, 'topic', event.topic,
    'partition', event.partition, 'epoch', event.epoch, 'sequence', event.sequence,
    'hash', lpad(to_hex(event.checksum), 16, '0'), 'data', event.data
  );
end
$$;

-- 16 hexadecimal digits as a signed 64-bit number; anything else is 22P02 (a 400 to the caller).
create or replace function crossfade.hash_from_hex_v1(digits text) returns bigint
language plpgsql immutable strict parallel safe
set search_path = ''
as $$
begin
  if length(digits) <> 16 then
    raise exception 'hash % must have 16 hexadecimal digits', quote_literal(digits)
      using errcode = '22P02';
  end if;
  return ('x' || digits)::bit(64)::bigint;
end
$$;

-- Whether realtime.messages can take a row now. Realtime makes its daily partitions only while
-- somebody is connected, so a quiet project can run out of them; later versions have a default one.
create or replace function crossfade.partition_today_v1() returns boolean
language plpgsql stable
set search_path = ''
as $$
declare
  messages regclass := to_regclass('realtime.messages');
begin
  if messages is null then
    return false;
  end if;
  if (select relkind from pg_class where oid = messages) <> 'p' then
    return true;
  end if;
  return exists (
    select
    from pg_inherits i
    join pg_class c on c.oid = i.inhrelid
    cross join lateral pg_get_expr(c.relpartbound, c.oid) as b(bound)
    where i.inhparent = messages
      and (
        b.bound = 'DEFAULT'
        or (
          substring(b.bound from 'FROM \(''([^'']+)''\)')::timestamp <= now()::timestamp
          and now()::timestamp < substring(b.bound from 'TO \(''([^'']+)''\)')::timestamp
        )
      )
  );
end
$$;

-- Sends one frame on a topic's private channel and returns the id put into it, by which
-- crossfade.unsent_v1 finds it again.
create or replace function crossfade.send_v1(topic text, kind text, frame jsonb) returns text
language plpgsql
set search_path = ''
as $$
declare
  frame_id text := gen_random_uuid()::text;
begin
  perform realtime.send(
    frame || jsonb_build_object('v', 1, 'kind', kind, 'id', frame_id),
    kind, 'crossfade:' || topic, true
  );
  return frame_id;
end
$$;

-- How many of the frames just sent in this transaction were not written; null when that can not
-- be seen. Rows of this transaction have its start as their time, so few are looked at; servers
-- whose inserted_at has a resolution of one second need the wider look.
create or replace function crossfade.unsent_v1(frame_ids text[], topics text[]) returns integer
language plpgsql
set search_path = ''
as $$
declare
  channels text[] := array(select distinct 'crossfade:' || t from unnest(topics) t);
  written  integer;
begin
  if not has_table_privilege('realtime.messages', 'select')
     or row_security_active('realtime.messages') then
    return null;
  end if;
  select count(*) into written
  from realtime.messages m
  where m.extension = 'broadcast' and m.private and m.topic = any (channels)
    and m.inserted_at = now()::timestamp and m.payload ->> 'id' = any (frame_ids);
  if written < cardinality(frame_ids) then
    select count(*) into written
    from realtime.messages m
    where m.extension = 'broadcast' and m.private and m.topic = any (channels)
      and m.inserted_at >= now()::timestamp - interval '1 second'
      and m.payload ->> 'id' = any (frame_ids);
  end if;
  return cardinality(frame_ids) - written;
end
$$;

-- How many frames of this transaction were written, and what to tell the caller about the rest.
create or replace function crossfade.live_report_v1(
  frame_ids text[], topics text[], out sent integer, out warnings text[]
)
language plpgsql
set search_path = ''
as $$
declare
  unsent integer;
begin
  sent := cardinality(frame_ids);
  warnings := '{}';
  if sent = 0 then
    return;
  end if;
  unsent := crossfade.unsent_v1(frame_ids, topics);
  if unsent is null then
    warnings := array[
      'realtime.messages can not be read: whether the frames were sent is not known'];
  elsif unsent > 0 then
    sent := sent - unsent;
    warnings := array[format(
      '%s of %s frames were not sent live: %s', unsent, cardinality(frame_ids),
      case when crossfade.partition_today_v1()
        then 'realtime.send failed; the database''s log says why'
        else 'realtime.messages has no partition for today; connect a Realtime client once '
             'and the server makes it'
      end)];
  end if;
end
$$;

create or replace function crossfade.realtime_missing_v1() returns boolean
language sql stable
set search_path = ''
as $$
  select to_regprocedure('realtime.send(jsonb,text,text,boolean)') is null
      or to_regclass('realtime.messages') is null
$$;

revoke all on all functions in schema crossfade from public, anon, authenticated;
