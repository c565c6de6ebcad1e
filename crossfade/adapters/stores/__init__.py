"""Readers of the stores that a reconciliation compares: journal, tap and Supabase.

All implement ``ports.StoreReader``: they only read, hash what they hold, and stream.
"""

from crossfade.adapters.stores.journal import SqliteJournalReader
from crossfade.adapters.stores.supabase import SupabaseReader
from crossfade.adapters.stores.tap import TapReader

__all__ = ["SqliteJournalReader", "SupabaseReader", "TapReader"]
