"""Crossfade: from a WebSocket server to Supabase Realtime without losing an event.

``Publisher`` and ``Subscriber`` are all that most users need. They are imported on first use,
so that ``import crossfade`` stays cheap.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossfade.publisher import Publisher as Publisher
    from crossfade.subscriber import Subscriber as Subscriber
    from crossfade.sync_publisher import SyncPublisher as SyncPublisher

__all__ = ["Publisher", "Subscriber", "SyncPublisher", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "Publisher":
        from crossfade.publisher import Publisher

        return Publisher
    if name == "Subscriber":
        from crossfade.subscriber import Subscriber

        return Subscriber
    if name == "SyncPublisher":
        from crossfade.sync_publisher import SyncPublisher

        return SyncPublisher
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
