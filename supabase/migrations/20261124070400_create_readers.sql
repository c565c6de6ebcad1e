-- What reconciliation, subscribers and the doctor read (docs/protocol.md section 3).

-- A page of one stream, in order. At most `page` events (1,000 at the most) and about 4 MB of
-- content; a short page is no sign of the end: `head` is.
create or replace function public.crossfade_fill_v1(
  source text, epoch bigint, topic text, partition integer,
  first bigint, last bigint, page integer default 500
) returns json
language plpgsql stable security definer
set search_path = ''
as $$
#variable_conflict use_variable
declare
  max_page  constant integer := 1000;
  max_bytes constant integer := 4000000;
  answer    json;
begin
  if page is null or page < 1 or page > max_page then
    raise exception 'page must be 1 to %', max_page using errcode = '22023';
  end if;
  -- The server's key and the owner read everything; the role is the caller's, although the
  -- function runs as its owner.
  if current_setting('role') not in ('service_role', 'none')
     and not crossfade.may_receive_v1(topic) then
    raise exception 'topic % may not be received', quote_literal(topic) using errcode = '42501';
  end if;
  with paged as (
    select p.*, sum(p.bytes) over (order by p.number) - p.bytes as before
    from (
      select e.sequence as number, octet_length(e.data) as bytes,
             crossfade.wire_v1(e) || jsonb_build_object(
               'content_hash', lpad(to_hex(e.hash), 16, '0')) as wire
      from crossfade.events e
      where e.source = source and e.epoch = epoch and e.topic = topic
        and e.partition = partition and e.sequence between first and last
      order by e.sequence
      limit page
    ) p
  )
  select json_build_object(
    'events', coalesce((
      select json_agg(wire order by number) from paged where before < max_bytes), '[]'),
    'floor', (
      select min(e.sequence) from crossfade.events e
      where e.source = source and e.epoch = epoch and e.topic = topic and e.partition = partition),
    'head', (
      select max(e.sequence) from crossfade.events e
      where e.source = source and e.epoch = epoch and e.topic = topic and e.partition = partition)
  ) into answer;
  return answer;
end
$$;

-- Every stream with its first and last sequence and its number of events, counted from the
-- events themselves (reads the whole primary key).
create or replace function public.crossfade_streams_v1() returns json
language sql stable security definer
set search_path = ''
as $$
  select coalesce(json_agg(
    json_build_array(source, epoch, topic, partition, floor, head, count)
    order by source, epoch, topic, partition), '[]')
  from (
    select source, epoch, topic, partition,
           min(sequence) as floor, max(sequence) as head, count(*) as count
    from crossfade.events
    group by source, epoch, topic, partition
  ) s
$$;

-- Digests of blocks of consecutive sequences, from the recomputed hashes. Rows come ordered;
-- a block without a row is left out. `sum` is a decimal from 0 to 2^64 - 1.
-- Limits: 10,000 ranges, 100,000 blocks a call. Each block is one range of the primary key.
create or replace function public.crossfade_digests_v1(ranges json, block integer) returns json
language plpgsql stable security definer
set search_path = ''
as $$
#variable_conflict use_column
declare
  max_ranges constant integer := 10000;
  max_blocks constant bigint := 100000;
  size       constant bigint := block;
  blocks     bigint;
  answer     json;
begin
  if size is null or size < 1 then
    raise exception 'block must be at least 1' using errcode = '22023';
  end if;
  if ranges is null or json_typeof(ranges) <> 'array'
     or json_array_length(ranges) > max_ranges then
    raise exception 'ranges must be an array of at most % rows', max_ranges
      using errcode = '22023';
  end if;
  with asked as (
    select row ->> 0 as source, (row ->> 1)::bigint as epoch, row ->> 2 as topic,
           (row ->> 3)::integer as partition, (row ->> 4)::bigint as first,
           (row ->> 5)::bigint as last
    from json_array_elements(ranges) as r(row)
  ), held as (
    -- Cut to what is held, so that an open end costs nothing.
    select a.source, a.epoch, a.topic, a.partition,
           greatest(a.first, 1, ends.floor) as first, least(a.last, ends.head) as last
    from asked a
    cross join lateral (
      select min(e.sequence) as floor, max(e.sequence) as head
      from crossfade.events e
      where e.source = a.source and e.epoch = a.epoch and e.topic = a.topic
        and e.partition = a.partition
    ) ends
    where ends.floor is not null
  ), counted as (
    select sum((last - 1) / size - (first - 1) / size + 1) as total
    from held where first <= last
  ), digests as (
    select h.source, h.epoch, h.topic, h.partition, b.number as block, d.*
    from held h
    cross join lateral generate_series((h.first - 1) / size, (h.last - 1) / size) as b(number)
    cross join lateral (
      select count(*) as count, min(e.sequence) as low, max(e.sequence) as high,
             sum(e.hash) as total, count(*) filter (where e.hash <> e.checksum) as stale
      from crossfade.events e
      where e.source = h.source and e.epoch = h.epoch and e.topic = h.topic
        and e.partition = h.partition
        and e.sequence between greatest(h.first, b.number * size + 1)
                           and least(h.last, (b.number + 1) * size)
    ) d
    where h.first <= h.last and d.count > 0
      and (select total from counted) <= max_blocks
  )
  select (select total from counted),
         (select coalesce(json_agg(json_build_array(
            source, epoch, topic, partition, block, count, low, high,
            (mod(mod(total, 18446744073709551616) + 18446744073709551616,
                 18446744073709551616))::text,
            stale
          ) order by source, epoch, topic, partition, block), '[]') from digests)
  into blocks, answer;
  if blocks > max_blocks then
    raise exception 'the ranges hold % blocks; at most % are allowed', blocks, max_blocks
      using errcode = '22023';
  end if;
  return answer;
end
$$;

-- Whether the schema is there and Realtime can take frames. `events` is exact up to 100,000 and
-- the planner's estimate above; `migration` is the last one that this function knows of.
create or replace function public.crossfade_health_v1() returns json
language sql stable security definer
set search_path = ''
as $$
  select json_build_object(
    'migration', '20261124070400',
    'now', to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'partition_today', crossfade.partition_today_v1(),
    'events', (
      select case when exact.n <= 100000 then exact.n
                  else greatest(exact.n, (
                    select reltuples::bigint from pg_catalog.pg_class
                    where oid = 'crossfade.events'::regclass))
             end
      from (select count(*) as n from (select from crossfade.events limit 100001) e) exact)
  )
$$;

revoke all on function
  public.crossfade_fill_v1(text, bigint, text, integer, bigint, bigint, integer),
  public.crossfade_streams_v1(), public.crossfade_digests_v1(json, integer),
  public.crossfade_health_v1()
  from public, anon, authenticated;
grant execute on function
  public.crossfade_fill_v1(text, bigint, text, integer, bigint, bigint, integer)
  to authenticated, service_role;
grant execute on function
  public.crossfade_streams_v1(), public.crossfade_digests_v1(json, integer),
  public.crossfade_health_v1()
  to service_role;
