"""Reading what a sink is owed, over all streams, in the order in which it was committed.

Each stream is read ahead in small chunks, and the chunks are merged by the time of commit
(a k-way merge). An event is handed out once; whoever takes it keeps it until it is done.
"""

from collections import deque
from heapq import heapify, heappop, heappush

from crossfade.core.event import Event
from crossfade.core.outbox import Outbox, Span
from crossfade.ports import Journal

__all__ = ["Backlog", "weight"]

_CHUNK_MINIMUM = 8
_ENVELOPE_BYTES = 400
"""About what an event's attributes weigh on the wire, beside its content."""


def weight(event: Event) -> int:
    """About how many bytes an event has on the wire."""
    return _ENVELOPE_BYTES + len(event.data)


class Backlog:
    """What one sink is owed and was not handed out yet.

    Memory: at most ``limit_events`` read-ahead events, or ``_CHUNK_MINIMUM`` for each stream
    that owes something, whichever is more.
    """

    def __init__(self, journal: Journal, sink: str) -> None:
        self._journal = journal
        self._sink = sink
        self._ahead: dict[int, deque[Event]] = {}
        self._next: dict[int, int] = {}

    async def take(self, limit_events: int, limit_bytes: int) -> list[Event]:
        """The oldest events that are owed, at least one if there is any.

        Raises:
            JournalUnavailable, Closed: the journal cannot be read.
        """
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

    async def _read_ahead(self, limit_events: int) -> None:
        dry = [
            span
            for stream_id in self._outbox.owing()
            if stream_id not in self._ahead and (span := self._unread(stream_id)) is not None
        ]
        if not dry:
            return
        chunk = max(_CHUNK_MINIMUM, limit_events // (len(dry) + len(self._ahead)))
        for span, rows in zip(dry, await self._journal.read(dry, chunk), strict=True):
            if rows:
                self._ahead[span.stream_id] = deque(rows)

    def _unread(self, stream_id: int) -> Span | None:
        after = max(self._next.get(stream_id, 1), self._outbox.cursor(stream_id))
        return self._outbox.next_span(stream_id, after)

    @property
    def _outbox(self) -> Outbox:
        return self._journal.outbox(self._sink)
