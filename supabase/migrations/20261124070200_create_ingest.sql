-- crossfade_ingest_v1 and crossfade_heads_v1 (docs/protocol.md section 3).

-- Stores a batch and sends what was new, in one transaction; repeating a call is harmless.
-- Limits: 5,000 events and 16 MB of JSON a call (22023 above); statement_timeout is Supabase's
-- own 8 s. A row that breaks a constraint fails the whole call (22xxx, 23xxx): bisect.
create or replace function public.crossfade_ingest_v1(
  batch json, live boolean default true, frame_limit_bytes integer default 200000
) returns json
language plpgsql security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
  max_events    constant integer := 5000;
  max_bytes     constant integer := 16000000;
  -- {"v": 1, "id": "…", "kind": "events", "events": []} with room to spare.
  envelope      constant integer := 128;
  offered_count integer;
  inserted      integer := 0;
  stale         integer := 0;
  too_large     integer := 0;
  conflicts     json := '[]';
  conflict_count integer := 0;
  warnings      text[] := '{}';
  frame_ids     text[] := '{}';
  topics        text[] := '{}';
  pieces        text[] := '{}';
  pieces_topic  text;
  pieces_bytes  integer := 0;
  sending       boolean := live;
  vanished      boolean;
  report        record;
  fresh         record;
begin
  if batch is null or json_typeof(batch) <> 'array' then
    raise exception 'batch must be an array of events' using errcode = '22023';
  end if;
  offered_count := json_array_length(batch);
  if offered_count > max_events or octet_length(batch::text) > max_bytes then
    raise exception 'batch has % events and % bytes; at most % events and % bytes are allowed',
      offered_count, octet_length(batch::text), max_events, max_bytes using errcode = '22023';
  end if;
  if frame_limit_bytes is null or frame_limit_bytes < 1000 then
    raise exception 'frame_limit_bytes must be at least 1000' using errcode = '22023';
  end if;
  if sending and crossfade.realtime_missing_v1() then
    sending := false;
    warnings := warnings || 'realtime.send is missing: nothing was sent live'::text;
  end if;

  -- One set-based insert; the order is the same for every caller, so that two callers with
  -- overlapping batches wait for each other instead of dead-locking. The loop only packs. What
  -- is sent is the text that was offered, so nothing is serialised anew: of twins in one batch
  -- the first one, which is the one that was stored.
  for fresh in
    with offered as materialized (
      select *
      from rows from (
        json_to_recordset(batch) as (
          id text, source text, type text, "time" timestamptz, subject text, category text,
          topic text, partition integer, epoch bigint, sequence bigint, hash text, data text
        ),
        json_array_elements(batch)
      ) with ordinality as o(
        id, source, type, "time", subject, category, topic, partition, epoch, sequence, hash,
        data, wire, place
      )
    ), stored as (
      insert into crossfade.events as e (
        source, epoch, topic, partition, sequence,
        id, type, "time", subject, category, data, checksum
      )
      select source, epoch, topic, partition, sequence,
             id, type, "time", subject, category, data, crossfade.hash_from_hex_v1(hash)
      from offered
      order by source, epoch, topic, partition, sequence, place
      on conflict do nothing
      returning source, epoch, topic, partition, sequence, id, hash <> checksum as is_stale
    ), live as (
      -- An id is stored once, so a row meets itself and its twins.
      select distinct on (topic, source, epoch, partition, sequence)
             topic, s.is_stale, case when sending then o.wire::text end as wire
      from stored s join offered o using (source, epoch, topic, partition, sequence, id)
      order by topic, source, epoch, partition, sequence, o.place
    )
    -- As jsonb it gets a space after each colon and comma between its (at most 13) fields.
    select topic, is_stale, wire, octet_length(wire) + 30 as bytes from live
  loop
    inserted := inserted + 1;
    stale := stale + fresh.is_stale::integer;
    continue when fresh.wire is null;
    if fresh.bytes + envelope > frame_limit_bytes then
      too_large := too_large + 1;
      continue;
    end if;
    if fresh.topic is distinct from pieces_topic
       or pieces_bytes + fresh.bytes > frame_limit_bytes then
      if cardinality(pieces) > 0 then
        frame_ids := frame_ids || crossfade.send_v1(
          pieces_topic, 'events', ('{"events":[' || array_to_string(pieces, ',') || ']}')::jsonb);
        topics := topics || pieces_topic;
      end if;
      pieces := '{}';
      pieces_topic := fresh.topic;
      pieces_bytes := envelope;
    end if;
    pieces := pieces || fresh.wire;
    pieces_bytes := pieces_bytes + fresh.bytes;
  end loop;
  if cardinality(pieces) > 0 then
    frame_ids := frame_ids || crossfade.send_v1(
      pieces_topic, 'events', ('{"events":[' || array_to_string(pieces, ',') || ']}')::jsonb);
    topics := topics || pieces_topic;
  end if;

  if inserted < offered_count then
    -- A new statement, so that rows which another caller committed while the insert waited
    -- for it are seen. What is neither stored as offered nor in conflict was deleted
    -- meanwhile: the caller repeats.
    with offered as (
      select o.*, crossfade.content_hash_v1(
        o.source, o.epoch, o.topic, o.partition, o.sequence,
        o.id, o.type, o."time", o.subject, o.category, o.data) as offered
      from json_to_recordset(batch) as o(
        id text, source text, type text, "time" timestamptz, subject text, category text,
        topic text, partition integer, epoch bigint, sequence bigint, hash text, data text
      )
    ), disputed as (
      select o.*, coalesce(at.hash, namesake.hash) as stored,
             case when at.hash is not null then 'position' else 'id' end as reason
      from offered o
      left join crossfade.events at
        on (at.source, at.epoch, at.topic, at.partition, at.sequence)
         = (o.source, o.epoch, o.topic, o.partition, o.sequence)
      left join crossfade.events namesake on namesake.id = o.id
      where at.hash is distinct from o.offered
    ), kept as (
      insert into crossfade.dead_letters (
        reason, source, epoch, topic, partition, sequence, event_id, stored, offered, data
      )
      select reason, source, epoch, topic, partition, sequence, id, stored, offered, data
      from disputed
      where stored is not null
      on conflict on constraint dead_letters_once do nothing
    )
    select count(*),
           coalesce(json_agg(json_build_object(
             'source', d.source, 'epoch', d.epoch, 'topic', d.topic, 'partition', d.partition,
             'sequence', d.sequence, 'id', d.id, 'reason', d.reason,
             'stored', lpad(to_hex(d.stored), 16, '0'),
             'offered', lpad(to_hex(d.offered), 16, '0')
           ) order by d.source, d.epoch, d.topic, d.partition, d.sequence), '[]'),
           count(*) filter (where d.stored is null) > 0
    into conflict_count, conflicts, vanished
    from disputed d;
    if vanished then
      raise exception 'rows were deleted while they were ingested; repeat the call'
        using errcode = '40001';
    end if;
  end if;

  if stale > 0 then
    warnings := warnings || format(
      '%s events do not have the content that their hash says', stale);
  end if;
  if too_large > 0 then
    warnings := warnings || format(
      '%s events are larger than a frame of %s bytes and were stored but not sent live',
      too_large, frame_limit_bytes);
  end if;
  report := crossfade.live_report_v1(frame_ids, topics);
  return json_build_object(
    'inserted', inserted,
    'skipped', offered_count - inserted - conflict_count,
    'conflicts', conflicts,
    'frames', report.sent,
    'warnings', to_json(warnings || report.warnings)
  );
end
$$;

-- Records heads (they never go down) and sends them, at most 1,000 streams a frame.
-- Limit: 10,000 rows a call.
create or replace function public.crossfade_heads_v1(heads json, live boolean default true)
returns json
language plpgsql security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
  max_rows  constant integer := 10000;
  warnings  text[] := '{}';
  frame_ids text[] := '{}';
  topics    text[] := '{}';
  sending   boolean := live;
  report    record;
  packed    record;
begin
  if heads is null or json_typeof(heads) <> 'array' or json_array_length(heads) > max_rows then
    raise exception 'heads must be an array of at most % rows', max_rows using errcode = '22023';
  end if;
  if sending and crossfade.realtime_missing_v1() then
    sending := false;
    warnings := warnings || 'realtime.send is missing: nothing was sent live'::text;
  end if;
  for packed in
    with offered as (
      select row ->> 0 as source, (row ->> 1)::bigint as epoch, row ->> 2 as topic,
             (row ->> 3)::integer as partition,
             max((row ->> 4)::bigint) as sequence, max((row ->> 5)::bigint) as floor
      from json_array_elements(heads) as h(row)
      group by 1, 2, 3, 4
    ), stored as (
      insert into crossfade.heads as h (source, epoch, topic, partition, sequence, floor)
      select source, epoch, topic, partition, sequence, floor
      from offered
      order by source, epoch, topic, partition
      on conflict (source, epoch, topic, partition) do update
        set sequence = greatest(h.sequence, excluded.sequence),
            floor = greatest(h.floor, excluded.floor),
            updated_at = clock_timestamp()
      returning source, epoch, topic, partition, sequence, floor
    ), numbered as (
      select *, (row_number() over (
        partition by topic order by source, epoch, partition) - 1) / 1000 as frame
      from stored
    )
    select topic, jsonb_agg(
      jsonb_build_array(source, epoch, topic, partition, sequence, floor)
      order by source, epoch, partition) as rows
    from numbered
    group by topic, frame
    order by topic, frame
  loop
    continue when not sending;
    frame_ids := frame_ids || crossfade.send_v1(
      packed.topic, 'heads', jsonb_build_object(
        'at_us', (extract(epoch from clock_timestamp()) * 1000000)::bigint,
        'heads', packed.rows));
    topics := topics || packed.topic;
  end loop;
  report := crossfade.live_report_v1(frame_ids, topics);
  return json_build_object(
    'frames', report.sent,
    'warnings', to_json(warnings || report.warnings)
  );
end
$$;

-- Supabase's default privileges give every new function in public to anon and authenticated.
revoke all on function public.crossfade_ingest_v1(json, boolean, integer)
  from public, anon, authenticated;
revoke all on function public.crossfade_heads_v1(json, boolean) from public, anon, authenticated;
grant execute on function public.crossfade_ingest_v1(json, boolean, integer) to service_role;
grant execute on function public.crossfade_heads_v1(json, boolean) to service_role;
