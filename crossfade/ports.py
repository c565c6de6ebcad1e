"""What the shells need from the outside, as protocols; ``crossfade.adapters`` implements them."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from crossfade.core.digest import BlockDigest
from crossfade.core.event import Event, Head, Position, Stream
from crossfade.core.flags import Flags
from crossfade.core.reconciliation_plan import Extent, Interval, Outline, Range
from crossfade.core.reconciliation_rows import Row
from crossfade.core.telemetry import Report

__all__ = [
    "Clock",
    "Conflict",
    "EventStore",
    "FillPage",
    "FillSource",
    "FlagSource",
    "IngestResult",
    "JournalReader",
    "LegacySend",
    "RecordingReader",
    "Reporter",
    "StoreReader",
]

LegacySend = Callable[[Sequence[Event]], Awaitable[None]]
"""An application's own legacy side: sends committed events, in order, to its subscribers."""


class Clock(Protocol):
    """Time, so that tests can hold it."""

    def now_us(self) -> int:
        """Wall clock: microseconds since 1970, UTC."""
        ...

    def monotonic_ms(self) -> int:
        """A clock that never goes back, in milliseconds from an arbitrary start."""
        ...


class FlagSource(Protocol):
    """Where the routing flags come from; keeps the last known ones when its origin is gone."""

    @property
    def flags(self) -> Flags:
        """The flags in force here and now; never blocks."""
        ...

    async def newer(self, version: int) -> Flags:
        """Wait until the flags' version is above ``version`` and return them."""
        ...


class Reporter(Protocol):
    """Where instances send their telemetry."""

    async def report(self, report: Report) -> None:
        """Send one report.

        Raises:
            ControlUnavailable: it could not be delivered; nothing waits for it.
        """
        ...


class FillPage(NamedTuple):
    """A page of a stream from a store; ``floor`` and ``head`` are what the store holds.

    ``floor`` and ``head`` are None when the store holds nothing of the stream.
    """

    events: list[Event]
    floor: int | None
    head: int | None


class FillSource(Protocol):
    """A store that can be asked for a range of a stream."""

    @property
    def name(self) -> str:
        """``hub``, ``supabase`` or ``journal``."""
        ...

    async def fill(self, stream: Stream, first: int, last: int) -> FillPage:
        """The events from ``first`` on, in order, at most to ``last``; the page may be short.

        Raises:
            StoreUnavailable: no answer; ask again later or ask another source.
        """
        ...


class Conflict(NamedTuple):
    """A position that the store already holds with another content."""

    position: Position
    stored: int
    offered: int


class IngestResult(NamedTuple):
    """What the store did with a batch."""

    inserted: int
    skipped: int
    conflicts: tuple[Conflict, ...]
    frames: int
    warnings: tuple[str, ...]


class EventStore(FillSource, Protocol):
    """The Supabase side of the publisher."""

    async def ingest(self, events: Sequence[Event], *, live: bool = True) -> IngestResult:
        """Store a batch and send it live, in one transaction; repeating it is harmless.

        Raises:
            StoreUnavailable: nothing is known of the outcome: send the same batch again.
            StoreRejected: the store will never take this batch: bisect it.
        """
        ...

    async def heads(self, heads: Sequence[Head]) -> None:
        """Record and send the heads of what was ingested.

        Raises:
            StoreUnavailable, StoreRejected: as ``ingest``.
        """
        ...


class StoreReader(Protocol):
    """A store that a reconciliation reads; synchronous, used from threads.

    Every method raises StoreError or JournalError when the store can not be read.
    """

    @property
    def name(self) -> str:
        """``journal``, ``websocket``, ``realtime`` or ``supabase``."""
        ...

    def streams(self) -> list[Extent]:
        """The lowest and highest sequence held of each stream that holds any."""
        ...

    def digests(self, ranges: Sequence[Range], block: int) -> Iterator[tuple[Stream, BlockDigest]]:
        """Digests of the blocks (of ``block`` sequences) that hold rows of the ranges.

        Within one range a block has one digest at most; blocks without rows have none.
        """
        ...

    def rows(self, stream: Stream, first: int, last: int) -> Iterator[Row]:
        """The rows of a range, repeated deliveries of a sequence in order of arrival."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class JournalReader(StoreReader, Protocol):
    """The journal, which also says what each store is owed."""

    def outline(self, cutoff_us: int, recorded_from_us: int = 0) -> Outline:
        """The journal's streams at one moment; what was committed after the cut-off is in flight.

        What was committed before ``recorded_from_us`` is not expected of the tap.
        """
        ...


class RecordingReader(StoreReader, Protocol):
    """One transport of the tap's recording, which also says when the tap was connected."""

    def coverage(self) -> tuple[Interval, ...]:
        """The intervals of its connection, in microseconds, ascending."""
        ...
