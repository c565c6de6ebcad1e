-- A canary goes through table and Realtime like any event and is gone afterwards.

create or replace function crossfade.migration_v1() returns text
language sql immutable
set search_path = ''
as $$ select '20261124110200' $$;

-- Removes everything of the source `crossfade-doctor`, which no publisher may have, and answers how
-- many events that were. Nothing is left for a reconciliation to wonder about.
create or replace function public.crossfade_forget_canary_v1() returns integer
language plpgsql security definer
set search_path = ''
as $$
declare
  canary constant text := 'crossfade-doctor';
  gone   integer;
begin
  delete from crossfade.events where source = canary;
  get diagnostics gone = row_count;
  delete from crossfade.heads where source = canary;
  delete from crossfade.dead_letters where source = canary;
  if to_regclass('crossfade.changes') is not null then
    execute 'delete from crossfade.changes where source = $1' using canary;
  end if;
  return gone;
end
$$;

revoke all on function crossfade.migration_v1() from public, anon, authenticated;
revoke all on function public.crossfade_forget_canary_v1() from public, anon, authenticated;
grant execute on function public.crossfade_forget_canary_v1() to service_role;
