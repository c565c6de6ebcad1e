drop function if exists public.crossfade_scrub_v1(json, integer);
drop function if exists crossfade.content_hash_inline_v1(
  text, bigint, text, integer, bigint, text, text, timestamptz, text, text, text
);
drop function if exists public.crossfade_changes_v1(text);
drop function if exists public.crossfade_extents_v1();
do $block$
begin
  if to_regclass('crossfade.events') is not null then
    drop trigger if exists log_truncates on crossfade.events;
    drop trigger if exists log_deletes on crossfade.events;
    drop trigger if exists log_updates on crossfade.events;
  end if;
end
$block$;
drop function if exists crossfade.log_change_v1();
drop table if exists crossfade.changes;
