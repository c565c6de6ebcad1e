-- The stand-in's replacement for the logical replication of the publication that
-- postgres_changes reads: a trigger on each of its tables keeps the change until the stand-in has
-- read it. For the embedded database only. Harmless when run again.

do $$
begin
  if not exists (select from pg_publication where pubname = 'supabase_realtime') then
    create publication supabase_realtime;
  end if;
end
$$;

create unlogged table if not exists realtime.stand_in_changes (
  id         bigint generated always as identity primary key,
  relation   oid not null,
  operation  text not null,
  record     jsonb,
  old_record jsonb,
  at         timestamptz not null default now()
);
revoke all on realtime.stand_in_changes from public;

create or replace function realtime.keep_change() returns trigger
language plpgsql security definer set search_path = '' set timezone = 'UTC' as $$
declare
  number bigint;
begin
  insert into realtime.stand_in_changes (relation, operation, record, old_record)
  values (
    tg_relid, tg_op,
    case when tg_op <> 'DELETE' then to_jsonb(new) end,
    case when tg_op <> 'INSERT' then to_jsonb(old) end)
  returning id into number;
  perform pg_notify('realtime_changes', number::text);
  return null;
end
$$;
revoke all on function realtime.keep_change() from public;

create or replace function realtime.watch_publication() returns event_trigger
language plpgsql security definer set search_path = '' as $$
declare
  found record;
begin
  for found in
    select c.oid::regclass as name, p.tablename is not null as published
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    left join pg_catalog.pg_publication_tables p
      on p.pubname = 'supabase_realtime' and p.schemaname = n.nspname and p.tablename = c.relname
    left join pg_catalog.pg_trigger t on t.tgrelid = c.oid and t.tgname = 'stand_in_change'
    where c.relkind = 'r' and (p.tablename is not null) <> (t.oid is not null)
  loop
    if found.published then
      execute format(
        'create trigger stand_in_change after insert or update or delete on %s '
        'for each row execute function realtime.keep_change()', found.name);
    else
      execute format('drop trigger if exists stand_in_change on %s', found.name);
    end if;
  end loop;
end
$$;
revoke all on function realtime.watch_publication() from public;

drop event trigger if exists stand_in_publication;
create event trigger stand_in_publication on ddl_command_end
  when tag in ('CREATE PUBLICATION', 'ALTER PUBLICATION', 'DROP PUBLICATION', 'CREATE TABLE')
  execute function realtime.watch_publication();
