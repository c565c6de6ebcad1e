"""The official JavaScript client against the stand-in: ``make test-supabase-js``."""
