"""What the shells need from the outside, as protocols; ``crossfade.adapters`` implements them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    # For readers and mypy alone: a quick command shall not import the whole core for them.
    from crossfade.core.digest import BlockDigest
    from crossfade.core.event import Draft, Event, Head, Position, Stream
    from crossfade.core.flags import Flags
    from crossfade.core.intervals import Interval
    from crossfade.core.outbox import Outbox, Span
    from crossfade.core.recent import Recent
    from crossfade.core.reconciliation_plan import Changes, Extent, Outline, Range
    from crossfade.core.reconciliation_rows import Hashes, Row
    from crossfade.core.switch import Coverage
    from crossfade.core.telemetry import Report

__all__ = [
    "Clock",
    "Conflict",
    "EventStore",
    "FillPage",
    "FillSource",
    "FlagSource",
    "IngestResult",
    "Journal",
    "JournalReader",
    "LegacySend",
    "Listener",
    "RecordingReader",
    "Reporter",
    "StoreReader",
]

LegacySend = Callable[["Sequence[Event]"], Awaitable[None]]
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


class Listener(Protocol):
    """Whom a reader's transport tells; ``via`` is the transport's name.

    Everything but ``room`` is called on the event loop, must return at once and must not
    raise.
    """

    def events(self, via: str, events: Sequence[Event]) -> None:
        """Events were delivered, in the order of their frame."""
        ...

    def heads(self, via: str, heads: Sequence[Head], coverage: Coverage | None) -> None:
        """Heads were delivered on a subscription that covers this (None: everything)."""
        ...

    def met(self, via: str, heads: Sequence[Head]) -> None:
        """Streams that exist, told before the history of any of them."""
        ...

    def joined(self, via: str, coverage: Coverage | None) -> None:
        """A subscription was acknowledged; it replaces the earlier one."""
        ...

    def left(self, via: str, reason: str) -> None:
        """The connection is gone; the transport comes back by itself."""
        ...

    def failed(self, via: str, reason: str) -> None:
        """An attempt to connect failed; the transport goes on trying."""
        ...

    async def room(self) -> None:
        """Wait until more can be taken: a transport that can wait reads no further till then."""
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


class Journal(FillSource, Protocol):
    """The publisher's durable truth; belongs to one event loop."""

    @property
    def epoch(self) -> int:
        """The epoch of its streams."""
        ...

    @property
    def events(self) -> int:
        """How many events were ever committed."""
        ...

    @property
    def recent(self) -> Recent:
        """The newest of them, in memory."""
        ...

    @property
    def queued(self) -> int:
        """How many events wait to be committed."""
        ...

    async def append(self, drafts: Sequence[Draft]) -> list[Event]:
        """Commit drafts, all or none; a known id is answered with its event.

        Raises:
            InvalidEvent: an id was used for another content.
            JournalUnavailable: it is not known whether they are durable; repeat with the same ids.
        """
        ...

    def advance(self, sink: str, cursors: Mapping[int, int]) -> None:
        """Per stream number: everything below is done for ``sink``."""
        ...

    def park(self, sink: str, event: Event, reason: str) -> None:
        """Set aside an event that ``sink`` will never take, and step over it."""
        ...

    def unpark(self, sink: str, event: Event, *, taken: bool) -> None:
        """A parked event is given again, or ``taken`` by its sink after all."""
        ...

    async def flush(self) -> None:
        """Return when every cursor so far is durable."""
        ...

    def outbox(self, sink: str) -> Outbox:
        """What ``sink`` is owed, now; do not keep it."""
        ...

    def parked(self, sink: str) -> int:
        """How many events were set aside for ``sink``."""
        ...

    def stream_id(self, stream: Stream) -> int | None:
        """Its number for a stream."""
        ...

    def head(self, stream_id: int) -> Head:
        """A stream's last committed sequence and floor."""
        ...

    def heads(self) -> list[Head]:
        """Those of every stream."""
        ...

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after each commit; it must not raise or wait."""
        ...

    async def read(self, spans: Sequence[Span], limit: int) -> list[list[Event]]:
        """Per span its first ``limit`` events.

        Raises:
            JournalUnavailable: it cannot be read.
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

    def changes(self, since: str) -> Changes:
        """What was changed after it was written, since the mark of an earlier answer.

        With "" nothing was compared before, so there is nothing to tell but the mark.
        """
        ...

    def digests(
        self, ranges: Sequence[Range], block: int, *, anew: bool = False
    ) -> Iterator[tuple[Stream, BlockDigest]]:
        """Digests of the blocks (of ``block`` sequences) that hold rows of the ranges.

        Within one range a block has one digest at most; blocks without rows have none.
        ``anew``: from the content, even where the store keeps a hash by itself.
        """
        ...

    def rows(self, stream: Stream, first: int, last: int) -> Iterator[Row]:
        """The rows of a range, repeated deliveries of a sequence in order of arrival."""
        ...

    def hashes(self, ranges: Sequence[Range]) -> Iterator[Hashes]:
        """The hashes of the ranges' rows, from their content; a range's may come in parts."""
        ...

    def rows_of(self, ranges: Sequence[Range]) -> Iterator[Row]:
        """The rows of many ranges, one range after the other."""
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
