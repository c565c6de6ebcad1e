-- What reconciliation needs to cost what changed and not what is stored (docs/adr/0015).
-- Harmless when applied again.

create or replace function crossfade.migration_v1() returns text
language sql immutable
set search_path = ''
as $$ select '20261124120000' $$;

-- The two hashes beside the key, in the index that is there anyway: a digest then reads the index
-- alone, which is some seventeen times faster than reading rows. Rebuilds the index once; on a
-- large table do it at a quiet time.
do $$
begin
  if not exists (
    select from pg_catalog.pg_index
    where indrelid = 'crossfade.events'::regclass and indisprimary and indnatts > indnkeyatts
  ) then
    alter table crossfade.events
      drop constraint events_pkey,
      add constraint events_pkey primary key (source, epoch, topic, partition, sequence)
        include (hash, checksum);
  end if;
end
$$;

-- Every UPDATE and DELETE of events, by whomever, as ranges of sequences. The table is written
-- once per event and never changed, so in normal operation it stays empty and costs nothing.
create table if not exists crossfade.changes (
  number     bigint generated always as identity primary key,
  changed_at timestamptz not null default clock_timestamp(),
  xid        xid8 not null default pg_current_xact_id(),
  source     text,  -- null: everything (TRUNCATE)
  epoch      bigint,
  topic      text,
  partition  integer,
  first      bigint,
  last       bigint
);
create index if not exists changes_by_xid on crossfade.changes (xid);
create index if not exists changes_by_time on crossfade.changes (changed_at);
comment on table crossfade.changes is
  'sequences that were updated or deleted after they were stored, for reconciliation to look at';
alter table crossfade.changes enable row level security;
revoke all on crossfade.changes from public, anon, authenticated, service_role;
grant select on crossfade.changes to service_role;

create or replace function crossfade.log_change_v1() returns trigger
language plpgsql security definer
set search_path = ''
as $$
begin
  if tg_op = 'TRUNCATE' then
    insert into crossfade.changes default values;
    return null;
  end if;
  -- Retention removes old events for good reasons; what it leaves in the log goes after a month.
  delete from crossfade.changes where changed_at < clock_timestamp() - interval '30 days';
  insert into crossfade.changes (source, epoch, topic, partition, first, last)
  select e.source, e.epoch, e.topic, e.partition, min(e.sequence), max(e.sequence)
  from before e
  group by e.source, e.epoch, e.topic, e.partition, e.sequence / 256;
  if tg_op = 'UPDATE' then
    insert into crossfade.changes (source, epoch, topic, partition, first, last)
    select e.source, e.epoch, e.topic, e.partition, min(e.sequence), max(e.sequence)
    from after e
    where not exists (
      select from before b
      where (b.source, b.epoch, b.topic, b.partition, b.sequence)
          = (e.source, e.epoch, e.topic, e.partition, e.sequence))
    group by e.source, e.epoch, e.topic, e.partition, e.sequence / 256;
  end if;
  return null;
end
$$;
revoke all on function crossfade.log_change_v1() from public, anon, authenticated, service_role;

create or replace trigger log_updates after update on crossfade.events
  referencing old table as before new table as after
  for each statement execute function crossfade.log_change_v1();
create or replace trigger log_deletes after delete on crossfade.events
  referencing old table as before
  for each statement execute function crossfade.log_change_v1();
create or replace trigger log_truncates after truncate on crossfade.events
  for each statement execute function crossfade.log_change_v1();
-- Also while replication replays rows (session_replication_role = replica).
alter table crossfade.events enable always trigger log_updates;
alter table crossfade.events enable always trigger log_deletes;
alter table crossfade.events enable always trigger log_truncates;

-- The streams with their first and last sequence: a few index descents for each stream, whatever
-- they hold. A recursive query in place of the "loose index scan" that PostgreSQL lacks.
create or replace function public.crossfade_extents_v1() returns json
language sql stable security definer
set search_path = ''
as $$
  with recursive streams as (
    (select source, epoch, topic, partition from crossfade.events
     order by source, epoch, topic, partition limit 1)
    union all
    select n.source, n.epoch, n.topic, n.partition
    from streams s
    cross join lateral (
      select e.source, e.epoch, e.topic, e.partition
      from crossfade.events e
      where (e.source, e.epoch, e.topic, e.partition)
          > (s.source, s.epoch, s.topic, s.partition)
      order by e.source, e.epoch, e.topic, e.partition
      limit 1
    ) n
  )
  select coalesce(json_agg(
    json_build_array(s.source, s.epoch, s.topic, s.partition, low.sequence, high.sequence)
    order by s.source, s.epoch, s.topic, s.partition), '[]')
  from streams s
  cross join lateral (
    select e.sequence from crossfade.events e
    where (e.source, e.epoch, e.topic, e.partition) = (s.source, s.epoch, s.topic, s.partition)
    order by e.sequence limit 1
  ) low
  cross join lateral (
    select e.sequence from crossfade.events e
    where (e.source, e.epoch, e.topic, e.partition) = (s.source, s.epoch, s.topic, s.partition)
    order by e.sequence desc limit 1
  ) high
$$;

-- What was changed after it was stored, since the mark that an earlier answer gave ('' for none).
-- The mark is a time and the oldest transaction that was still running: whatever commits later is
-- told later, some of it twice. `changes` is null when it can not be told: the log is off, the mark
-- is of another database or older than 29 days, or there are more than 10,000 ranges.
create or replace function public.crossfade_changes_v1(since text) returns json
language plpgsql stable security definer
set search_path = ''
as $$
declare
  max_ranges constant integer := 10000;
  oldest     xid8 := pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot());
  mark       text := extract(epoch from clock_timestamp())::bigint || ':' || oldest;
  since_xid  xid8;
  found      json := '[]';
  ranges     bigint := 0;
  everything boolean := false;
  told       boolean;
begin
  select count(*) = 3 into told
  from pg_catalog.pg_trigger
  where tgrelid = 'crossfade.events'::regclass and tgenabled in ('A', 'O')
    and tgname in ('log_updates', 'log_deletes', 'log_truncates');
  if told and since <> '' then
    since_xid := split_part(since, ':', 2)::xid8;
    told := since_xid <= oldest and split_part(since, ':', 1)::bigint
              > extract(epoch from clock_timestamp() - interval '29 days');
    select count(*), coalesce(bool_or(c.source is null), false),
           coalesce(json_agg(json_build_array(
             c.source, c.epoch, c.topic, c.partition, c.first, c.last)), '[]')
    into ranges, everything, found
    from (
      select * from crossfade.changes where xid >= since_xid limit max_ranges + 1
    ) c;
  end if;
  if not told or everything or ranges > max_ranges then
    found := null;
  end if;
  return json_build_object('mark', mark, 'changes', found);
end
$$;

-- The same hash as crossfade.content_hash_v1, which a query calls for every row. This one has no
-- settings, is not strict and only stable (as concat_ws is), so that PostgreSQL puts the expression
-- in its place: a third less work where every row is hashed anew. The names in a body of this kind
-- are looked up when the function is made, not by the caller's search_path.
create or replace function crossfade.content_hash_inline_v1(
  source text, epoch bigint, topic text, partition integer, sequence bigint,
  id text, type text, "time" timestamptz, subject text, category text, data text
) returns bigint
language sql stable parallel safe
return ('x' || encode(substring(sha256(convert_to(
  concat_ws(
    e'\x1f', source, epoch, topic, partition, sequence, id, type,
    (extract(epoch from "time" - '1970-01-01 00:00:00+00'::timestamptz) * 1000000)::bigint,
    subject, category, data
  ), 'UTF8')) from 1 for 8), 'hex'))::bit(64)::bigint;
revoke all on function crossfade.content_hash_inline_v1(
  text, bigint, text, integer, bigint, text, text, timestamptz, text, text, text
) from public, anon, authenticated;

-- Digests like those of crossfade_digests_v1, from hashes computed anew from the content, so that
-- they do not even trust the generated column. Reads every row; `stale` counts the rows whose
-- content has neither hash. Limits: 10,000 ranges, 100,000 blocks a call.
create or replace function public.crossfade_scrub_v1(ranges json, block integer) returns json
language plpgsql stable security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
  size   constant bigint := block;
  blocks bigint;
  answer json;
begin
  if size is null or size < 1 or ranges is null or json_typeof(ranges) <> 'array'
     or json_array_length(ranges) > 10000 then
    raise exception 'block must be at least 1, ranges an array of at most 10000 rows'
      using errcode = '22023';
  end if;
  select sum((greatest((row ->> 5)::bigint, 1) - 1) / size
           - (greatest((row ->> 4)::bigint, 1) - 1) / size + 1)
  into blocks from json_array_elements(ranges) as r(row);
  if blocks > 100000 then
    raise exception 'the ranges hold % blocks; at most 100000 are allowed', blocks
      using errcode = '22023';
  end if;
  with asked as (
    select row ->> 0 as source, (row ->> 1)::bigint as epoch, row ->> 2 as topic,
           (row ->> 3)::integer as partition,
           greatest((row ->> 4)::bigint, 1) as first, (row ->> 5)::bigint as last
    from json_array_elements(ranges) as r(row)
  ), digests as (
    select a.source, a.epoch, a.topic, a.partition, d.*
    from asked a
    cross join lateral (
      select (h.sequence - 1) / size as block,
             count(*) as count, min(h.sequence) as low, max(h.sequence) as high,
             sum(h.anew) as total,
             count(*) filter (where h.anew <> h.checksum or h.anew <> h.hash) as stale
      from (
        select e.sequence, e.checksum, e.hash, crossfade.content_hash_inline_v1(
                 e.source, e.epoch, e.topic, e.partition, e.sequence, e.id, e.type, e."time",
                 e.subject, e.category, e.data) as anew
        from crossfade.events e
        where e.source = a.source and e.epoch = a.epoch and e.topic = a.topic
          and e.partition = a.partition and e.sequence between a.first and a.last
        offset 0  -- so that each hash is computed once
      ) h
      group by 1
    ) d
  )
  select coalesce(json_agg(json_build_array(
           source, epoch, topic, partition, block, count, low, high,
           (mod(mod(total, 18446744073709551616) + 18446744073709551616,
                18446744073709551616))::text,
           stale
         ) order by source, epoch, topic, partition, block), '[]')
  into answer from digests;
  return answer;
end
$$;

revoke all on function
  public.crossfade_extents_v1(), public.crossfade_changes_v1(text),
  public.crossfade_scrub_v1(json, integer)
  from public, anon, authenticated;
grant execute on function
  public.crossfade_extents_v1(), public.crossfade_changes_v1(text),
  public.crossfade_scrub_v1(json, integer)
  to service_role;
