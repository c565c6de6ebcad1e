"""Crossfade: from a WebSocket server to Supabase Realtime without losing an event."""

__all__ = ["__version__"]

__version__ = "0.1.0"
