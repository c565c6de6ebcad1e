"""A stand-in for a Supabase project, for development and tests: REST and Realtime over the
embedded PostgreSQL, with the paths, keys, roles, limits and bad habits of the real services.

It is not a product of its own: what Crossfade does not need it answers with 501.
"""
