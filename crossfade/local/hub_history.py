"""What the reference hub remembers: per stream its head and floor, and the newest events.

Synchronous and free of I/O, so that the hub's promises (history, then live, without a gap)
rest on plain calls that nothing can interrupt.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from crossfade.core.event import Head, Stream

__all__ = ["History", "HistoryStream"]


class HistoryStream:
    """One stream: ``head`` is its last sequence, ``first`` the oldest one in ``items``."""

    __slots__ = ("first", "head", "items", "publisher_floor", "stream")

    def __init__(self, stream: Stream, head: int) -> None:
        self.stream = stream
        self.head = head
        self.first = head + 1
        self.items: deque[bytes] = deque()
        self.publisher_floor: int | None = None

    @property
    def floor(self) -> int:
        """The first sequence that a fill can still give: from here or from the journal.

        1 as long as no publisher has said where its journal begins.
        """
        if self.publisher_floor is None:
            return 1
        return min(self.first, self.publisher_floor)


class History:
    """A bounded history of encoded events over all streams.

    At either limit the oldest event of all streams is forgotten; a fill of it is then asked
    of the publisher's journal.

    Args:
        limit_events: most events kept, all streams together; 0 keeps none.
        limit_bytes: most bytes of encoded events kept.
    """

    def __init__(self, limit_events: int, limit_bytes: int) -> None:
        self._limit_events = limit_events
        self._limit_bytes = limit_bytes
        self._streams: dict[Stream, HistoryStream] = {}
        self._arrivals: deque[tuple[HistoryStream, int]] = deque()
        self._events = 0
        self._bytes = 0

    @property
    def events(self) -> int:
        """How many events are held."""
        return self._events

    def get(self, stream: Stream) -> HistoryStream | None:
        """What is known of ``stream``; None when nothing was ever published or announced."""
        return self._streams.get(stream)

    def streams(self) -> Iterator[HistoryStream]:
        """Every known stream."""
        return iter(self._streams.values())

    def append(self, stream: Stream, sequence: int, encoded: bytes) -> bool:
        """Add an event; False when it is a repetition (at or below the head).

        A sequence that jumps over some is taken: what was skipped is the publisher's to
        fill, and what was held before the jump is forgotten, so that held runs stay gapless.
        """
        held = self._streams.get(stream)
        if held is None:
            held = self._streams[stream] = HistoryStream(stream, sequence - 1)
        if sequence <= held.head:
            return False
        if sequence != held.head + 1:
            self._forget(held, sequence)
        held.head = sequence
        held.items.append(encoded)
        self._arrivals.append((held, sequence))
        self._events += 1
        self._bytes += len(encoded)
        self._trim()
        return True

    def announce(self, head: Head) -> None:
        """Take the publisher's word for a stream: what was sent already, and its journal's floor.

        After the hub's restart this is how subscribers learn that they miss the last events
        before it.
        """
        held = self._streams.get(head.stream)
        if held is None:
            held = self._streams[head.stream] = HistoryStream(head.stream, head.sequence)
        elif head.sequence > held.head:
            self._forget(held, head.sequence + 1)
            held.head = head.sequence
        held.publisher_floor = head.floor

    def read(self, held: HistoryStream, first: int, last: int, limit_bytes: int) -> list[bytes]:
        """Encoded events from ``first`` to ``last``, at most ``limit_bytes`` but one at least.

        Empty when ``first`` is not held.
        """
        if first < held.first or first > held.head:
            return []
        start = first - held.first
        found: list[bytes] = []
        size = 0
        for item in islice(held.items, start, min(last, held.head) - held.first + 1):
            size += len(item) + 1
            if found and size > limit_bytes:
                break
            found.append(item)
        return found

    def heads(self, wanted: Callable[[Stream], bool]) -> list[Head]:
        """The heads of the streams that are ``wanted``."""
        return [
            Head(held.stream, held.head, held.floor)
            for held in self._streams.values()
            if wanted(held.stream)
        ]

    def _forget(self, held: HistoryStream, first: int) -> None:
        self._drop(held.items)
        held.items.clear()
        held.first = first
        if len(self._arrivals) > 2 * self._events + 1_000:
            self._arrivals = deque(
                (one, sequence) for one, sequence in self._arrivals if sequence >= one.first
            )

    def _drop(self, items: Iterable[bytes]) -> None:
        for item in items:
            self._events -= 1
            self._bytes -= len(item)

    def _trim(self) -> None:
        while self._events > self._limit_events or self._bytes > self._limit_bytes:
            held, sequence = self._arrivals.popleft()
            if held.items and held.first == sequence:
                self._drop((held.items.popleft(),))
                held.first += 1
