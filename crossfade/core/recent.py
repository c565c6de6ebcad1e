"""The newest committed events, so that whoever keeps up need not read them from the file.

A sans-I/O object in the manner of ``core.outbox``: the journal tells it of each commit, relays
look. What it no longer holds is in the journal's file; nothing depends on what it holds.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from crossfade.core.event import Event

__all__ = ["RECENT_BYTES", "RECENT_EVENTS", "Recent"]

RECENT_EVENTS = 16_000
"""Above it, or above ``RECENT_BYTES`` of content, the older half is let go."""
RECENT_BYTES = 16_000_000
"""Counted as one a character: text beyond ASCII takes two or four times that."""


class Recent:
    """Events of all streams in the order of commit, numbered from 0; bounded.

    Args:
        limit_events, limit_bytes: what it may hold at most (of content; one commit may exceed it
            until the next).
    """

    def __init__(self, limit_events: int = RECENT_EVENTS, limit_bytes: int = RECENT_BYTES) -> None:
        self._limit_events = limit_events
        self._limit_bytes = limit_bytes
        self._rows: list[tuple[int, Event]] = []
        self._bytes = 0
        self._lowest: dict[int, int] = {}
        self.first = 0
        """The number of the oldest event held."""

    @property
    def end(self) -> int:
        """The number that the next event will get."""
        return self.first + len(self._rows)

    def committed(self, rows: Sequence[tuple[int, Event]]) -> None:
        """Take what was committed: per event the journal's number of its stream."""
        self._rows.extend(rows)
        for stream_id, event in rows:
            self._lowest.setdefault(stream_id, event.sequence)
            self._bytes += len(event.data)
        if len(self._rows) > self._limit_events or self._bytes > self._limit_bytes:
            self._shed()

    def clear(self) -> None:
        """Hold nothing: what came meanwhile is not known."""
        self.first = self.end
        self._rows.clear()
        self._lowest.clear()
        self._bytes = 0

    def holds(self, stream_id: int, sequence: int) -> bool:
        """Whether it holds everything of the stream from ``sequence`` on."""
        lowest = self._lowest.get(stream_id)
        return lowest is not None and lowest <= sequence

    def after(self, number: int) -> Iterator[tuple[int, Event]]:
        """What it holds from ``number`` on."""
        return islice(self._rows, max(0, number - self.first), None)

    def _shed(self) -> None:
        rows = self._rows
        gone = max(0, len(rows) - self._limit_events // 2)
        self._bytes -= sum(len(event.data) for _, event in rows[:gone])
        while gone < len(rows) and self._bytes > self._limit_bytes // 2:
            self._bytes -= len(rows[gone][1].data)
            gone += 1
        self.first += gone
        del rows[:gone]
        self._lowest = _lowest(rows)


def _lowest(rows: Iterable[tuple[int, Event]]) -> dict[int, int]:
    found: dict[int, int] = {}
    for stream_id, event in rows:
        found.setdefault(stream_id, event.sequence)
    return found
