"""Pruning a journal: in small steps, what every sink has and the retention lets go.

A pass has two halves. First the rows below each stream's floor are deleted, then the floors
are raised. So a row outlives the floor that gave it up by one pause between passes: a
reconciliation or a fill that read the older floor a moment ago still finds what it expects,
and everybody hears of a floor before it is true.
"""

import sqlite3
from typing import NamedTuple

from crossfade.settings import JournalSettings

__all__ = ["PRUNE_EVENTS", "PRUNE_STREAMS", "PruneStep", "Pruner"]

PRUNE_EVENTS = 1_000
"""Most rows that one step deletes; publish() waits for it, as for a full group before its own."""
PRUNE_STREAMS = 200
"""Most streams that one step looks at."""

_STREAMS = (
    "SELECT stream_id, head, floor FROM streams WHERE stream_id > ? AND head > 1 "
    "ORDER BY stream_id LIMIT ?"
)
_OWED_FROM = (
    "SELECT min(max(r.first, coalesce(c.next, 1))) FROM routes r "
    "LEFT JOIN cursors c ON c.sink = r.sink AND c.stream_id = r.stream_id "
    "WHERE r.stream_id = ? AND max(r.first, coalesce(c.next, 1)) <= coalesce(r.last, ?)"
)
_COMMITTED = "SELECT committed_us FROM events WHERE stream_id = ? AND sequence = ?"


class PruneStep(NamedTuple):
    """What one step did: floors that rose (by the stream's number), rows that went, and whether
    the pass is over.
    """

    floors: dict[int, int]
    deleted: int
    over: bool


class Pruner:
    """Makes the steps of a pass, each in a transaction of the caller's.

    Never pruned: what a sink is owed, by the cursors in the file, and the last event of a
    stream, which tells when it last moved.
    """

    def __init__(self, settings: JournalSettings) -> None:
        self._retention_us = round(settings.retention_s * 1e6)
        self._retention_events = settings.retention_events
        self._raising = False
        self._after = 0

    def step(self, connection: sqlite3.Connection, now_us: int) -> PruneStep:
        """One step, inside the caller's transaction.

        Raises:
            sqlite3.Error: roll back; a later pass does what this step left undone.
        """
        rows = connection.execute(_STREAMS, (self._after, PRUNE_STREAMS)).fetchall()
        if self._raising:
            floors = {
                stream_id: low
                for stream_id, head, floor in rows
                if (low := self._floor(connection, stream_id, head, floor, now_us)) > floor
            }
            connection.executemany(
                "UPDATE streams SET floor = ? WHERE stream_id = ?",
                [(low, stream_id) for stream_id, low in floors.items()],
            )
            return self._moved(PruneStep(floors, 0, len(rows) < PRUNE_STREAMS), rows)
        room = PRUNE_EVENTS
        for index, (stream_id, _, floor) in enumerate(rows):
            gone = connection.execute(
                "DELETE FROM events WHERE stream_id = ? AND sequence < ? AND sequence < "
                "(SELECT min(sequence) FROM events WHERE stream_id = ?) + ?",
                (stream_id, floor, stream_id, room),
            ).rowcount
            room -= gone
            if room <= 0:
                # This stream may have more rows below its floor: look at it again.
                return self._moved(PruneStep({}, PRUNE_EVENTS, over=False), rows[:index])
        return self._moved(PruneStep({}, PRUNE_EVENTS - room, over=False), rows)

    def _moved(self, step: PruneStep, seen: list[tuple[int, int, int]]) -> PruneStep:
        if seen:
            self._after = seen[-1][0]
        if len(seen) < PRUNE_STREAMS and step.deleted < PRUNE_EVENTS:
            self._after = 0
            self._raising = not self._raising
        return step

    def _floor(
        self, connection: sqlite3.Connection, stream_id: int, head: int, floor: int, now_us: int
    ) -> int:
        """The first sequence that must be kept."""
        kept_from = floor
        if self._retention_events:
            kept_from = max(kept_from, head - self._retention_events + 1)
        if self._retention_us:
            kept_from = max(
                kept_from,
                _first_since(connection, stream_id, kept_from, head, now_us - self._retention_us),
            )
        if kept_from > floor:
            (owed_from,) = connection.execute(_OWED_FROM, (stream_id, head)).fetchone()
            kept_from = min(kept_from, head if owed_from is None else owed_from, head)
        return max(kept_from, floor)


def _first_since(
    connection: sqlite3.Connection, stream_id: int, low: int, high: int, since_us: int
) -> int:
    """The first sequence committed at ``since_us`` or later, by halving; ``high`` at most."""
    if not _is_before(connection, stream_id, low, since_us):
        return low
    while low < high:
        middle = (low + high) // 2
        if _is_before(connection, stream_id, middle, since_us):
            low = middle + 1
        else:
            high = middle
    return low


def _is_before(
    connection: sqlite3.Connection, stream_id: int, sequence: int, since_us: int
) -> bool:
    row = connection.execute(_COMMITTED, (stream_id, sequence)).fetchone()
    return row is not None and row[0] < since_us
