drop function if exists crossfade.realtime_missing_v1();
drop function if exists crossfade.live_report_v1(text[], text[]);
drop function if exists crossfade.unsent_v1(text[], text[]);
drop function if exists crossfade.send_v1(text, text, jsonb);
drop function if exists crossfade.partition_today_v1();
drop function if exists crossfade.hash_from_hex_v1(text);
-- The function's argument is the table's row type, which may be gone by a second run.
do $block$
begin
  if to_regclass('crossfade.events') is not null then
    drop function if exists crossfade.wire_v1(crossfade.events);
  end if;
end
$block$;
