drop function if exists public.crossfade_heads_v1(json, boolean);
drop function if exists public.crossfade_ingest_v1(json, boolean, integer);
