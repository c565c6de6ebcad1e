"""Removing old events from the Supabase table, a bounded call at a time."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from crossfade.adapters.stores import SupabaseReader
from crossfade.adapters.supabase_project import SupabaseProject
from crossfade.core.event import Stream
from crossfade.settings import SupabaseSettings

__all__ = ["Removed", "retain"]

STREAMS_A_CALL = 1_000
EVENTS_A_CALL = 10_000
"""Deleting so many takes well below the 8 s that a project gives a statement."""

_T = TypeVar("_T")


class Removed(NamedTuple):
    """What was removed, and the new floors of the streams that lost events."""

    events: int
    floors: dict[Stream, int]


async def retain(
    section: SupabaseSettings,
    before_us: int,
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> Removed:
    """Remove every event inserted before ``before_us`` that no journal holds any more.

    The database itself keeps what a publisher's last head says its journal still holds, the
    newest event of each stream, and everything above a younger event; so a reconciliation never
    misses what is gone. Interrupted, it has removed a part; repeating it goes on.

    Args:
        progress: told the number of events removed so far, after each call.

    Raises:
        StoreUnavailable, StoreRejected, UsageError: as the store's other calls.
    """
    reader = SupabaseReader(section)
    try:
        extents = await asyncio.to_thread(reader.streams)
    finally:
        reader.close()
    total = 0
    floors: dict[Stream, int] = {}
    async with SupabaseProject.of(section) as project:
        for some in _batches([(one.stream, one.head) for one in extents], STREAMS_A_CALL):
            more = True
            while more:
                done = await project.retain(some, before_us, at_most=EVENTS_A_CALL)
                total += done.deleted
                floors.update(done.floors)
                more = done.more and done.deleted > 0
                progress(total)
    return Removed(total, floors)


def _batches(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
