drop function if exists public.crossfade_health_v1();
drop function if exists public.crossfade_digests_v1(json, integer);
drop function if exists public.crossfade_streams_v1();
drop function if exists public.crossfade_fill_v1(
  text, bigint, text, integer, bigint, bigint, integer
);
