-- What a reconciliation reads of blocks that differ: hashes of single rows, and then the few rows
-- that they single out.

create or replace function crossfade.migration_v1() returns text
language sql immutable
set search_path = ''
as $$ select '20261124120100' $$;

-- Events of ranges ([[source, epoch, topic, partition, first, last], ...]) in the order of the
-- ranges. At most 1,000 events and about 4 MB a call: `more` says that the caller has to ask
-- again from behind the last one. Limit: 10,000 ranges.
create or replace function public.crossfade_rows_v1(ranges json) returns json
language plpgsql stable security definer
set search_path = ''
as $$
declare
  max_ranges constant integer := 10000;
  max_rows   constant integer := 1000;
  max_bytes  constant integer := 4000000;
  answer     json;
begin
  if ranges is null or json_typeof(ranges) <> 'array'
     or json_array_length(ranges) > max_ranges then
    raise exception 'ranges must be an array of at most % rows', max_ranges
      using errcode = '22023';
  end if;
  with found as (
    select a.place, e.sequence, octet_length(e.data) as bytes,
           crossfade.wire_v1(e) || jsonb_build_object(
             'content_hash', lpad(to_hex(e.hash), 16, '0')) as wire
    from json_array_elements(ranges) with ordinality as a(row, place)
    cross join lateral (
      select * from crossfade.events e
      where e.source = a.row ->> 0 and e.epoch = (a.row ->> 1)::bigint
        and e.topic = a.row ->> 2 and e.partition = (a.row ->> 3)::integer
        and e.sequence between (a.row ->> 4)::bigint and (a.row ->> 5)::bigint
      order by e.sequence
      limit max_rows + 1
    ) e
    order by a.place, e.sequence
    limit max_rows + 1
  ), paged as (
    select f.*, row_number() over w as number, sum(f.bytes) over w - f.bytes as before
    from found f
    window w as (order by f.place, f.sequence)
  )
  select json_build_object(
    'events', coalesce(json_agg(wire order by number)
      filter (where number <= max_rows and before < max_bytes), '[]'),
    'more', coalesce(bool_or(number > max_rows or before >= max_bytes), false)
  ) into answer from paged;
  return answer;
end
$$;

-- Per range the sequences and the hashes, computed anew from the content, of the rows it holds, as
-- base64 of big-endian 64-bit integers; and the sequences of rows whose content has neither hash.
-- [[place of the range from 0, sequences, hashes, [stale sequence, ...]], ...]; ranges without a
-- row are left out. Limits: 10,000 ranges, 200,000 sequences a call.
create or replace function public.crossfade_hashes_v1(ranges json) returns json
language plpgsql stable security definer
set search_path = ''
as $$
declare
  asked  bigint;
  answer json;
begin
  if ranges is null or json_typeof(ranges) <> 'array' or json_array_length(ranges) > 10000 then
    raise exception 'ranges must be an array of at most 10000 rows' using errcode = '22023';
  end if;
  select sum((row ->> 5)::bigint - (row ->> 4)::bigint + 1)
  into asked from json_array_elements(ranges) as r(row);
  if asked > 200000 then
    raise exception 'the ranges hold % sequences; at most 200000 are allowed', asked
      using errcode = '22023';
  end if;
  select coalesce(json_agg(json_build_array(
    d.place - 1,
    translate(encode(d.sequences, 'base64'), e'\n', ''),
    translate(encode(d.hashes, 'base64'), e'\n', ''),
    d.stale
  ) order by d.place), '[]')
  into answer
  from (
    select h.place,
           string_agg(pg_catalog.int8send(h.sequence), '' order by h.sequence) as sequences,
           string_agg(pg_catalog.int8send(h.anew), '' order by h.sequence) as hashes,
           coalesce(json_agg(h.sequence) filter (
             where h.anew <> h.checksum or h.anew <> h.hash), '[]') as stale
    from (
      select a.place, r.sequence, r.checksum, r.hash, r.anew
      from (
        select place, row ->> 0 as source, (row ->> 1)::bigint as epoch, row ->> 2 as topic,
               (row ->> 3)::integer as partition, (row ->> 4)::bigint as first,
               (row ->> 5)::bigint as last
        from json_array_elements(ranges) with ordinality as a(row, place)
        offset 0
      ) a
      cross join lateral (
        select e.sequence, e.checksum, e.hash, crossfade.content_hash_inline_v1(
                 e.source, e.epoch, e.topic, e.partition, e.sequence, e.id, e.type, e."time",
                 e.subject, e.category, e.data) as anew
        from crossfade.events e
        where e.source = a.source and e.epoch = a.epoch and e.topic = a.topic
          and e.partition = a.partition and e.sequence between a.first and a.last
        offset 0  -- each hash once, and range by range through the key
      ) r
    ) h
    group by h.place
  ) d;
  return answer;
end
$$;

revoke all on function public.crossfade_rows_v1(json), public.crossfade_hashes_v1(json)
  from public, anon, authenticated;
grant execute on function public.crossfade_rows_v1(json), public.crossfade_hashes_v1(json)
  to service_role;
