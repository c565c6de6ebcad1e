do $block$
begin
  if to_regclass('realtime.messages') is not null then
    drop policy if exists crossfade_receive on realtime.messages;
  end if;
end
$block$;
drop function if exists crossfade.may_receive_v1(text);
