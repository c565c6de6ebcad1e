drop function if exists public.crossfade_hashes_v1(json);
drop function if exists public.crossfade_rows_v1(json);
