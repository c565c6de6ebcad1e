-- Who may receive a topic: one function, asked by Realtime's policy and by crossfade_fill_v1.

-- Replace its body to narrow who receives what, for example by a claim of the caller's token:
--   select topic <> 'critical' or auth.jwt() ->> 'tier' = 'gold'
-- It is made only where it is missing, so applying this file again keeps your version.
do $block$
begin
  if to_regprocedure('crossfade.may_receive_v1(text)') is null then
    create function crossfade.may_receive_v1(topic text) returns boolean
    language sql stable
    set search_path = ''
    as 'select true';
  end if;
end
$block$;
revoke all on function crossfade.may_receive_v1(text) from public, anon;
grant execute on function crossfade.may_receive_v1(text) to authenticated, service_role;
comment on function crossfade.may_receive_v1(text) is
  'whether the caller may receive this topic, live and by fills; replace its body to narrow it';

-- Private channels crossfade:<topic>: authenticated may receive, nobody may send (publishers
-- send from the database, as the owner).
do $block$
begin
  if to_regclass('realtime.messages') is null then
    raise warning 'realtime.messages is missing: enable Realtime and apply this migration again; '
                  'until then nobody can join the private channels';
  elsif not exists (
    select from pg_policies
    where schemaname = 'realtime' and tablename = 'messages' and policyname = 'crossfade_receive'
  ) then
    create policy crossfade_receive on realtime.messages
      for select to authenticated
      using (
        realtime.messages.extension = 'broadcast'
        and (select realtime.topic()) like 'crossfade:%'
        and (select crossfade.may_receive_v1(substr(realtime.topic(), 11)))
      );
  end if;
end
$block$;
