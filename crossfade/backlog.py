"""Reading what a sink is owed, over all streams, in the order in which it was committed.

A sink that keeps up is served from the newest events in memory. One that lags reads the file:
each stream ahead in small chunks, which are merged by the time of commit (a k-way merge). An
event is handed out once; whoever takes it keeps it until it is done.
"""

from collections import deque
from heapq import heapify, heappop, heappush

from crossfade.core.event import Event
from crossfade.core.outbox import Outbox, Span
from crossfade.ports import Journal

__all__ = ["Backlog", "weight"]

_CHUNK_MINIMUM = 8
_CHUNKS = 4
"""So many batches are read ahead: fewer visits to the reading thread."""
_ENVELOPE_BYTES = 400
"""About what an event's attributes weigh on the wire, beside its content."""


def weight(event: Event) -> int:
    """About how many bytes an event has on the wire."""
    return _ENVELOPE_BYTES + len(event.data)


class Backlog:
    """What one sink is owed and was not handed out yet.

    Memory: at most ``_CHUNKS`` times ``limit_events`` read-ahead events, or ``_CHUNK_MINIMUM`` for
    each stream that owes something, whichever is more.
    """

    def __init__(self, journal: Journal, sink: str) -> None:
        self._journal = journal
        self._sink = sink
        self._ahead: dict[int, deque[Event]] = {}
        self._next: dict[int, int] = {}
        self._place = 0

    async def take(self, limit_events: int, limit_bytes: int) -> list[Event]:
        """The oldest events that are owed, at least one if there is any.

        Raises:
            JournalUnavailable, Closed: the journal cannot be read.
        """
        if self._is_recent():
            return self._take_recent(limit_events, limit_bytes)
        # While the file is read, more is committed than was looked at.
        self._place = 0
        taken: list[Event] = []
        size = 0
        while True:
            await self._read_ahead(limit_events)
            heap = [(rows[0].committed_us, stream_id) for stream_id, rows in self._ahead.items()]
            heapify(heap)
            while heap:
                _, stream_id = heappop(heap)
                rows = self._ahead[stream_id]
                size += weight(rows[0])
                if taken and (len(taken) >= limit_events or size > limit_bytes):
                    return taken
                taken.append(rows.popleft())
                self._next[stream_id] = taken[-1].sequence + 1
                if rows:
                    heappush(heap, (rows[0].committed_us, stream_id))
                    continue
                del self._ahead[stream_id]
                if self._unread(stream_id) is not None:
                    # Its next event may be older than those of the others: read on first.
                    break
            else:
                return taken

    def _is_recent(self) -> bool:
        """Whether everything that is owed and was not handed out is in memory."""
        if self._ahead:
            return False
        recent = self._journal.recent
        return all(
            span is None or recent.holds(stream_id, span.first)
            for stream_id in self._outbox.owing()
            for span in (self._unread(stream_id),)
        )

    def _take_recent(self, limit_events: int, limit_bytes: int) -> list[Event]:
        recent = self._journal.recent
        taken: list[Event] = []
        spans: dict[int, Span | None] = {}
        size = 0
        # Everything before the place was handed out, or is not owed.
        self._place = max(self._place, recent.first)
        for stream_id, event in recent.after(self._place):
            span = spans.get(stream_id)
            if stream_id not in spans or (span is not None and event.sequence > span.last):
                span = spans[stream_id] = self._unread(stream_id)
            if span is not None and event.sequence >= span.first:
                size += weight(event)
                if taken and (len(taken) >= limit_events or size > limit_bytes):
                    break
                taken.append(event)
                self._next[stream_id] = event.sequence + 1
            self._place += 1
        return taken

    async def _read_ahead(self, limit_events: int) -> None:
        dry = [
            span
            for stream_id in self._outbox.owing()
            if stream_id not in self._ahead and (span := self._unread(stream_id)) is not None
        ]
        if not dry:
            return
        chunk = max(_CHUNK_MINIMUM, _CHUNKS * limit_events // (len(dry) + len(self._ahead)))
        for span, rows in zip(dry, await self._journal.read(dry, chunk), strict=True):
            if rows:
                self._ahead[span.stream_id] = deque(rows)

    def _unread(self, stream_id: int) -> Span | None:
        after = max(self._next.get(stream_id, 1), self._outbox.cursor(stream_id))
        return self._outbox.next_span(stream_id, after)

    @property
    def _outbox(self) -> Outbox:
        return self._journal.outbox(self._sink)
