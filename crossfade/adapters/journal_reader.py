"""Reading a journal, from its publisher's process or any other, while it is written."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from crossfade.adapters.journal_schema import open_reader, unavailable
from crossfade.core.event import Event, Head, Position, Stream
from crossfade.core.outbox import Route, Span

__all__ = ["JournalReader", "JournalStream", "Parked"]

_EVENTS = (
    "SELECT id, type, time_us, subject, category, sequence, data, checksum, committed_us "
    "FROM events WHERE stream_id = ? AND sequence BETWEEN ? AND ? ORDER BY sequence LIMIT ?"
)


class JournalStream(NamedTuple):
    """A stream and the journal's number for it; ``floor`` is the first sequence still held."""

    stream_id: int
    stream: Stream
    head: int
    floor: int


class Parked(NamedTuple):
    """An event that a sink will never take, and why."""

    sink: str
    position: Position
    reason: str
    at_us: int


class JournalReader:
    """A read-only view; every call sees what was committed before it. Not for several threads
    at once.

    Raises:
        JournalUnavailable: at any call, when the file is missing, unreadable or no journal.
        JournalTooNew: on opening, when it is of a later version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = open_reader(path)
        self._streams: dict[int, Stream] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def meta(self) -> dict[str, str]:
        """The journal's own facts: ``source``, ``epoch``, ``lease``."""
        with self._translated():
            return dict(self._connection.execute("SELECT key, value FROM meta").fetchall())

    def streams(self) -> list[JournalStream]:
        """Every stream, in the order of its birth."""
        with self._translated():
            rows = self._connection.execute(
                "SELECT stream_id, source, epoch, topic, partition, head, floor FROM streams "
                "ORDER BY stream_id"
            ).fetchall()
        return [JournalStream(row[0], Stream(*row[1:5]), row[5], row[6]) for row in rows]

    def heads(self) -> list[Head]:
        """The last committed sequence and the floor of every stream."""
        return [Head(one.stream, one.head, one.floor) for one in self.streams()]

    def read(self, stream: Stream, first: int, last: int, limit: int = 1_000) -> list[Event]:
        """Events of a stream in order, from ``first`` to ``last``, at most ``limit``."""
        row = self._one(
            "SELECT stream_id FROM streams WHERE source = ? AND epoch = ? AND topic = ? "
            "AND partition = ?",
            *stream,
        )
        if row is None:
            return []
        return self.rows(Span(row[0], first, last), limit)

    def rows(self, span: Span, limit: int = 1_000) -> list[Event]:
        """The same by the journal's own number of the stream."""
        stream = self._stream(span.stream_id)
        if stream is None:
            return []
        source, epoch, topic, partition = stream
        with self._translated():
            rows = self._connection.execute(_EVENTS, (*span, limit)).fetchall()
        return [
            Event(
                id_, source, type_, time_us, subject, category, topic, partition, epoch,
                sequence, data, checksum, committed_us,
            )
            for id_, type_, time_us, subject, category, sequence, data, checksum, committed_us
            in rows
        ]  # fmt: skip

    def event(self, id_: str) -> Event | None:
        """The event with this ``id``, or None."""
        row = self._one("SELECT stream_id, sequence FROM events WHERE id = ?", id_)
        if row is None:
            return None
        return self.rows(Span(row[0], row[1], row[1]))[0]

    def routes(self, sink: str) -> dict[Stream, tuple[Route, ...]]:
        """Which sequences of each stream ``sink`` is owed at all."""
        found: dict[Stream, tuple[Route, ...]] = {}
        with self._translated():
            rows = self._connection.execute(
                "SELECT stream_id, first, last FROM routes WHERE sink = ? "
                "ORDER BY stream_id, first",
                (sink,),
            ).fetchall()
        for stream_id, first, last in rows:
            stream = self._stream(stream_id)
            if stream is not None:
                found[stream] = (*found.get(stream, ()), Route(first, last))
        return found

    def cursors(self, sink: str) -> dict[Stream, int]:
        """Per stream the sequence below which everything is done for ``sink``."""
        with self._translated():
            rows = self._connection.execute(
                "SELECT stream_id, next FROM cursors WHERE sink = ?", (sink,)
            ).fetchall()
        return {
            stream: next_
            for stream_id, next_ in rows
            if (stream := self._stream(stream_id)) is not None
        }

    def parked(self) -> list[Parked]:
        """The events that a sink will never take, oldest first."""
        with self._translated():
            rows = self._connection.execute(
                "SELECT sink, stream_id, sequence, reason, at_us FROM parked ORDER BY at_us"
            ).fetchall()
        return [
            Parked(sink, Position(*stream, sequence), reason, at_us)
            for sink, stream_id, sequence, reason, at_us in rows
            if (stream := self._stream(stream_id)) is not None
        ]

    def _stream(self, stream_id: int) -> Stream | None:
        if stream_id not in self._streams:
            self._streams = {one.stream_id: one.stream for one in self.streams()}
        return self._streams.get(stream_id)

    def _one(self, statement: str, *values: Any) -> Any:
        with self._translated():
            return self._connection.execute(statement, values).fetchone()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise unavailable(self._path, error) from error
