-- Removes every event, head and dead letter, and the schema if nothing of others is in it.
drop table if exists crossfade.dead_letters;
drop table if exists crossfade.heads;
drop table if exists crossfade.events;
drop function if exists crossfade.content_hash_v1(
  text, bigint, text, integer, bigint, text, text, timestamptz, text, text, text
);
drop schema if exists crossfade;
