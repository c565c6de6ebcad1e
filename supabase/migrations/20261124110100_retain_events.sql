-- Removing old events, so that the table does not grow for ever.

create or replace function crossfade.migration_v1() returns text
language sql immutable
set search_path = ''
as $$ select '20261124110100' $$;

-- Removes events below the floors given ([[source, epoch, topic, partition, floor], ...]) that
-- were inserted before a time. Of a stream only its lowest events go, without leaving a hole, so
-- that its floor (the lowest sequence held) stays proof. Never removed, whatever the caller says:
-- what the publisher's journal still holds by its head (reconciliation expects it here), and the
-- newest event of a stream (its head stays known). A stream without a head is left alone.
-- Limits: 10,000 streams and `at_most` events (50,000 at the most) a call; `more` says that
-- another call would remove more. Answers {"deleted", "more", "floors": [[..., floor], ...]}.
create or replace function public.crossfade_retain_v1(
  floors json, before timestamptz, at_most integer default 10000
) returns json
language plpgsql security definer
set search_path = ''
as $$
declare
  max_rows    constant integer := 10000;
  most        constant integer := 50000;
  room        integer := at_most;
  asked       record;
  cut         bigint;
  edge        bigint;
  looked      integer;
  gone        integer;
  deleted     integer := 0;
  more        boolean := false;
  answer      jsonb := '[]';
begin
  if floors is null or json_typeof(floors) <> 'array' or json_array_length(floors) > max_rows then
    raise exception 'floors must be an array of at most % rows', max_rows using errcode = '22023';
  end if;
  if at_most is null or at_most < 1 or at_most > most then
    raise exception 'at_most must be 1 to %', most using errcode = '22023';
  end if;
  if before is null or before > clock_timestamp() then
    raise exception 'before must be a time in the past' using errcode = '22023';
  end if;
  for asked in
    select a.source, a.epoch, a.topic, a.partition,
           least(a.floor, h.floor, (
             select max(e.sequence) from crossfade.events e
             where e.source = a.source and e.epoch = a.epoch and e.topic = a.topic
               and e.partition = a.partition)) as floor
    from (
      select row ->> 0 as source, (row ->> 1)::bigint as epoch, row ->> 2 as topic,
             (row ->> 3)::integer as partition, min((row ->> 4)::bigint) as floor
      from json_array_elements(floors) as f(row)
      group by 1, 2, 3, 4
    ) a
    join crossfade.heads h using (source, epoch, topic, partition)
    order by 1, 2, 3, 4
  loop
    -- The first event that stays: the floor, or a younger event before it, or the end of the room.
    select coalesce(min(p.sequence) filter (where p.inserted_at >= before),
                    max(p.sequence) + 1, 0), count(*)
    into cut, looked
    from (
      select e.sequence, e.inserted_at
      from crossfade.events e
      where e.source = asked.source and e.epoch = asked.epoch and e.topic = asked.topic
        and e.partition = asked.partition and e.sequence < asked.floor
      order by e.sequence
      limit room + 1
    ) p;
    if looked > room then
      select e.sequence into edge
      from crossfade.events e
      where e.source = asked.source and e.epoch = asked.epoch and e.topic = asked.topic
        and e.partition = asked.partition
      order by e.sequence offset room limit 1;
      more := more or cut > edge;
      cut := least(cut, edge);
    end if;
    delete from crossfade.events e
    where e.source = asked.source and e.epoch = asked.epoch and e.topic = asked.topic
      and e.partition = asked.partition and e.sequence < cut;
    get diagnostics gone = row_count;
    deleted := deleted + gone;
    room := room - gone;
    if gone > 0 then
      answer := answer || jsonb_build_array(jsonb_build_array(
        asked.source, asked.epoch, asked.topic, asked.partition, (
          select min(e.sequence) from crossfade.events e
          where e.source = asked.source and e.epoch = asked.epoch and e.topic = asked.topic
            and e.partition = asked.partition)));
    end if;
  end loop;
  return json_build_object('deleted', deleted, 'more', more, 'floors', answer);
end
$$;

revoke all on function crossfade.migration_v1() from public, anon, authenticated;
revoke all on function public.crossfade_retain_v1(json, timestamptz, integer)
  from public, anon, authenticated;
grant execute on function public.crossfade_retain_v1(json, timestamptz, integer) to service_role;
