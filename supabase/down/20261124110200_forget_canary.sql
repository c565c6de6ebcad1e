drop function if exists public.crossfade_forget_canary_v1();
