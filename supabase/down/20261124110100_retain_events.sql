drop function if exists public.crossfade_retain_v1(json, timestamptz, integer);
