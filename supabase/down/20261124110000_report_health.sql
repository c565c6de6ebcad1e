drop function if exists public.crossfade_facts_v1();
drop function if exists public.crossfade_health_v1();
drop function if exists crossfade.migration_v1();
