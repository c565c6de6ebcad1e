"""Ports that live in memory: for tests, examples and dry runs. They ship with the library.

Faults are not theirs: wrap a store in ``crossfade.testing.FaultyStore``.
"""

import asyncio
from collections.abc import Sequence

from crossfade.core.event import Event, Head, Position, Stream, content_hash
from crossfade.core.flags import Flags
from crossfade.core.telemetry import Report
from crossfade.ports import Conflict, FillPage, IngestResult

__all__ = ["MemoryEventStore", "MemoryReporter", "StaticFlags"]

FILL_EVENTS = 1_000


class MemoryEventStore:
    """Implements ``ports.EventStore`` with the semantics of ``crossfade_ingest_v1``.

    ``events`` is what it holds, ``sent`` what went out live (new events only), ``known_heads``
    the newest heads.
    """

    name = "supabase"

    def __init__(self) -> None:
        self.events: dict[Position, Event] = {}
        self.sent: list[Event] = []
        self.known_heads: dict[Stream, Head] = {}
        self.heads_calls = 0
        self._ids: dict[str, Event] = {}

    async def ingest(self, events: Sequence[Event], *, live: bool = True) -> IngestResult:
        """Store what is new; the same position or id with another content is a conflict."""
        inserted = skipped = 0
        conflicts: list[Conflict] = []
        for event in events:
            # Stores recompute the hash: the one that travelled is never taken at its word.
            offered = content_hash(event)
            stored = self.events.get(event.position) or self._ids.get(event.id)
            if stored is None:
                self.events[event.position] = self._ids[event.id] = event
                inserted += 1
                if live:
                    self.sent.append(event)
            elif content_hash(stored) == offered:
                skipped += 1
            else:
                conflicts.append(Conflict(event.position, content_hash(stored), offered))
        return IngestResult(inserted, skipped, tuple(conflicts), int(live and inserted > 0), ())

    async def heads(self, heads: Sequence[Head]) -> None:
        """Record heads; they never go down."""
        self.heads_calls += 1
        for head in heads:
            known = self.known_heads.get(head.stream)
            if known is None or head.sequence >= known.sequence:
                self.known_heads[head.stream] = head

    async def fill(self, stream: Stream, first: int, last: int) -> FillPage:
        """A page of a stream."""
        held = self.stream(stream)
        if not held:
            return FillPage([], None, None)
        page = [event for event in held if first <= event.sequence <= last][:FILL_EVENTS]
        return FillPage(page, held[0].sequence, held[-1].sequence)

    def stream(self, stream: Stream) -> list[Event]:
        """Everything held of a stream, in order."""
        found = [event for event in self.events.values() if event.stream == stream]
        return sorted(found, key=lambda event: event.sequence)


class StaticFlags:
    """Implements ``ports.FlagSource``: flags that change only when they are ``set``."""

    def __init__(self, flags: Flags | None = None) -> None:
        self._flags = flags or Flags()
        self._changed = asyncio.Event()

    @property
    def flags(self) -> Flags:
        """The flags in force."""
        return self._flags

    def set(self, flags: Flags) -> None:
        """Put other flags in force; their version must be higher, or ``newer`` misses them."""
        self._flags = flags
        self._changed.set()
        self._changed = asyncio.Event()

    async def newer(self, version: int) -> Flags:
        """Wait until the flags' version is above ``version`` and return them."""
        while self._flags.version <= version:
            await self._changed.wait()
        return self._flags


class MemoryReporter:
    """Implements ``ports.Reporter``; keeps the newest ``limit`` reports."""

    def __init__(self, limit: int = 1_000) -> None:
        self.reports: list[Report] = []
        self._limit = limit

    async def report(self, report: Report) -> None:
        """Keep one report."""
        self.reports.append(report)
        del self.reports[: -self._limit]
