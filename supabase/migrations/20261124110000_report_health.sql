-- What a check before the first week needs to know of the database (`crossfade doctor`), and one
-- place that says which migration is the last: every later one replaces crossfade.migration_v1.

create or replace function crossfade.migration_v1() returns text
language sql immutable
set search_path = ''
as $$ select '20261124110000' $$;

-- Replaces the one of 20261124070400, which knew only itself.
create or replace function public.crossfade_health_v1() returns json
language sql stable security definer
set search_path = ''
as $$
  select json_build_object(
    'migration', crossfade.migration_v1(),
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

-- Facts from the catalog; nothing is judged here. `timeouts` are what a role is given at login, in
-- PostgreSQL's notation (null: nothing of its own); `statement_timeout_ms` is the one in
-- force for this call. `open_tables` have no row level security; `open_functions` may be executed
-- by roles beyond those of the protocol; `unfixed_functions` lack a fixed search_path.
create or replace function public.crossfade_facts_v1() returns json
language plpgsql stable security definer
set search_path = ''
as $$
declare
  messages regclass := to_regclass('realtime.messages');
begin
  return json_build_object(
    'migration', crossfade.migration_v1(),
    'now_us', (extract(epoch from clock_timestamp()) * 1000000)::bigint,
    'postgres', current_setting('server_version'),
    'database_bytes', pg_database_size(current_database()),
    'open_tables', (
      select coalesce(json_agg(n.nspname || '.' || c.relname order by n.nspname, c.relname), '[]')
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where c.relkind in ('r', 'p') and not c.relrowsecurity
        and (n.nspname = 'crossfade' or c.oid = messages)),
    'open_functions', (
      select coalesce(json_agg(distinct r.rolname || ': ' || p.proname), '[]')
      from pg_proc p
      join pg_namespace n on n.oid = p.pronamespace
      join pg_roles r on r.rolname in ('anon', 'authenticated')
      where (n.nspname = 'crossfade' or (n.nspname = 'public' and p.proname like 'crossfade\_%'))
        and has_function_privilege(r.oid, p.oid, 'execute')
        and not (r.rolname = 'authenticated'
                 and p.proname in ('crossfade_fill_v1', 'may_receive_v1'))),
    'unfixed_functions', (
      select coalesce(json_agg(p.proname order by p.proname), '[]')
      from pg_proc p join pg_namespace n on n.oid = p.pronamespace
      where (n.nspname = 'crossfade' or (n.nspname = 'public' and p.proname like 'crossfade\_%'))
        and p.prosqlbody is null  -- whose names were bound when it was made
        and not coalesce(p.proconfig, '{}') && array['search_path=""']),
    'realtime_send', to_regprocedure('realtime.send(jsonb,text,text,boolean)') is not null,
    'partition_today', crossfade.partition_today_v1(),
    'receive_policy', exists (
      select from pg_policies
      where schemaname = 'realtime' and tablename = 'messages'
        and policyname = 'crossfade_receive'),
    'statement_timeout_ms', (
      select setting::bigint from pg_settings where name = 'statement_timeout'),
    'timeouts', (
      select json_object_agg(r.rolname, (
        select (regexp_match(c, '^statement_timeout=(.*)$'))[1]
        from pg_db_role_setting s cross join unnest(s.setconfig) c
        where s.setrole = r.oid and s.setdatabase in (0, (
            select oid from pg_database where datname = current_database()))
          and c like 'statement_timeout=%'
        order by s.setdatabase desc limit 1))
      from pg_roles r
      where r.rolname in ('anon', 'authenticated', 'service_role', 'authenticator'))
  );
end
$$;

revoke all on function crossfade.migration_v1() from public, anon, authenticated;
revoke all on function public.crossfade_health_v1(), public.crossfade_facts_v1()
  from public, anon, authenticated;
grant execute on function public.crossfade_health_v1(), public.crossfade_facts_v1()
  to service_role;
