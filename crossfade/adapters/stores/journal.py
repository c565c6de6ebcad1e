"""Reads a publisher's journal (docs/protocol.md section 4)."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from crossfade.adapters.journal_schema import open_reader
from crossfade.adapters.stores.columns import (
    Columns,
    ReadPiece,
    columns_query,
    digests_of,
    hashes_of,
    read_columns,
)
from crossfade.adapters.stores.sqlite import changes_of, read_rows, translated
from crossfade.core.digest import BlockDigest
from crossfade.core.event import Event, Stream, content_hash
from crossfade.core.intervals import coalesce
from crossfade.core.reconciliation_plan import Changes, Extent, JournalStream, Outline, Range
from crossfade.core.reconciliation_rows import Hashes, Row
from crossfade.errors import JournalUnavailable

__all__ = ["SqliteJournalReader"]

MAX_TORN = 1_000_000
"""A head that far above the last row is a corrupt head, not so many missing events."""

_EVENTS = (
    "SELECT sequence, id, type, time_us, subject, category, data, checksum, committed_us "
    "FROM events WHERE stream_id = ? AND sequence BETWEEN ? AND ? ORDER BY sequence"
)
_COLUMNS = columns_query(
    "events", "stream_id = :id AND sequence BETWEEN :first AND :last", arrival=None
)


class SqliteJournalReader:
    """Implements ``ports.JournalReader`` over the journal's file, read-only.

    Hashes are computed from the rows. Memory does not grow with the journal.

    Raises:
        JournalUnavailable: missing, unreadable, or no journal.
        JournalTooNew: of a later version (it is not touched).
    """

    name = "journal"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = open_reader(path)
        try:
            self._ids = self._stream_ids()
        except BaseException:
            self._connection.close()
            raise

    def outline(self, cutoff_us: int, recorded_from_us: int = 0) -> Outline:
        """Its streams at one moment, with the intervals that each store is owed.

        Args:
            cutoff_us: what was committed later is in flight (above the watermark).
            recorded_from_us: what was committed earlier is not expected of the tap.

        Raises:
            JournalUnavailable: it can not be read, or a head is corrupt.
        """
        connection = self._connection
        with translated(self._path, JournalUnavailable):
            connection.execute("BEGIN")
            try:
                meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
                routes = _by_stream(connection, "SELECT stream_id, sink, first, last FROM routes")
                cursors = _by_stream(connection, "SELECT stream_id, sink, next FROM cursors")
                parked = _by_stream(
                    connection,
                    "SELECT stream_id, sequence, reason FROM parked WHERE sink = 'supabase'",
                )
                rows = connection.execute(
                    "SELECT stream_id, source, epoch, topic, partition, head, floor FROM streams "
                    "ORDER BY source, epoch, topic, partition"
                ).fetchall()
                streams = tuple(
                    replace(
                        self._outline_one(row, routes.get(row[0], ()), cutoff_us, recorded_from_us),
                        next=_next(cursors.get(row[0], ()), routes.get(row[0], ())),
                        parked=dict(parked.get(row[0], ())),
                    )
                    for row in rows
                )
            finally:
                connection.execute("COMMIT")
        scope = {(facts.stream.source, facts.stream.epoch) for facts in streams}
        if "source" in meta and "epoch" in meta:
            scope.add((meta["source"], int(meta["epoch"])))
        return Outline(frozenset(scope), streams)

    def streams(self) -> list[Extent]:
        """The lowest and highest sequence held of each stream that holds any."""
        found = []
        with translated(self._path, JournalUnavailable):
            self._ids = self._stream_ids()
            for stream, stream_id in self._ids.items():
                low, high = self._connection.execute(
                    "SELECT (SELECT min(sequence) FROM events WHERE stream_id = :id), "
                    "(SELECT max(sequence) FROM events WHERE stream_id = :id)",
                    {"id": stream_id},
                ).fetchone()
                if low is not None:
                    found.append(Extent(stream, low, high))
        return found

    def changes(self, since: str) -> Changes:
        """Rows updated or deleted since a mark ("" for none); retention's deletions left out."""
        with translated(self._path, JournalUnavailable):
            self._ids = self._stream_ids()
            return changes_of(self._connection, "events", since, self._stream_ids)

    def digests(
        self, ranges: Sequence[Range], block: int, *, anew: bool = False
    ) -> Iterator[tuple[Stream, BlockDigest]]:
        """Per range a digest of each block it touches that holds rows, the last block first.

        Always computed anew: the file keeps no hash of its own.
        """
        for asked in ranges:
            yield from digests_of(asked, block, self._piece_of(asked.stream))

    def rows(self, stream: Stream, first: int, last: int) -> Iterator[Row]:
        """The rows of a range, in order."""
        with translated(self._path, JournalUnavailable):
            stream_id = self._id(stream)
            if stream_id is None:
                return
            source, epoch, topic, partition = stream
            for (
                sequence,
                id_,
                type_,
                time_us,
                subject,
                category,
                data,
                checksum,
                at_us,
            ) in read_rows(self._connection, _EVENTS, (stream_id, first, last)):
                event = Event(
                    id_, source, type_, time_us, subject, category, topic, partition, epoch,
                    sequence, data, checksum, at_us,
                )  # fmt: skip
                yield Row(event, content_hash(event))

    def hashes(self, ranges: Sequence[Range]) -> Iterator[Hashes]:
        """The hashes of the ranges' rows, computed from the content."""
        for asked in ranges:
            yield from hashes_of(asked, self._piece_of(asked.stream))

    def rows_of(self, ranges: Sequence[Range]) -> Iterator[Row]:
        """The rows of many ranges, in their order."""
        for one in ranges:
            yield from self.rows(*one)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _piece_of(self, stream: Stream) -> ReadPiece:
        stream_id = self._id(stream)

        def read(first: int, last: int) -> Columns:
            if stream_id is None:
                return Columns()
            with translated(self._path, JournalUnavailable):
                return read_columns(
                    self._connection,
                    _COLUMNS,
                    stream,
                    {"id": stream_id, "first": first, "last": last},
                    lambda: self.rows(stream, first, last),
                )

        return read

    def _stream_ids(self) -> dict[Stream, int]:
        with translated(self._path, JournalUnavailable):
            return {
                Stream(source, epoch, topic, partition): stream_id
                for stream_id, source, epoch, topic, partition in self._connection.execute(
                    "SELECT stream_id, source, epoch, topic, partition FROM streams"
                )
            }

    def _id(self, stream: Stream) -> int | None:
        if stream not in self._ids:
            self._ids = self._stream_ids()
        return self._ids.get(stream)

    def _outline_one(
        self,
        row: tuple[int, str, int, str, int, int, int],
        routes: Iterable[tuple[Any, ...]],
        cutoff_us: int,
        recorded_from_us: int,
    ) -> JournalStream:
        stream_id, source, epoch, topic, partition, head, floor = row
        watermark, held = self._watermark(stream_id, head, cutoff_us)
        if head - held > MAX_TORN:
            raise JournalUnavailable(
                f"{self._path}: the head of {source}/{epoch}/{topic}/{partition} is {head}, "
                f"its last event {held}: the journal is corrupt"
            )
        category = self._connection.execute(
            "SELECT category FROM events WHERE stream_id = ? LIMIT 1", (stream_id,)
        ).fetchone()
        recorded = floor
        if recorded_from_us:
            recorded = self._first_since(stream_id, floor, head, recorded_from_us)
        supabase = [(first, last) for sink, first, last in routes if sink == "supabase"]
        return JournalStream(
            stream=Stream(source, epoch, topic, partition),
            category=category[0] if category else topic,
            floor=floor,
            head=head,
            held=held,
            watermark=watermark,
            owed={
                "websocket": coalesce([(recorded, head)], floor, head),
                "supabase": coalesce(supabase, floor, head),
            },
        )

    def _watermark(self, stream_id: int, head: int, cutoff_us: int) -> tuple[int, int]:
        """The last sequence old enough to be judged, and the last one held.

        Reads from the newest row down, so it costs as much as is in flight.
        """
        held = 0
        watermark = head
        for sequence, committed_us in self._connection.execute(
            "SELECT sequence, committed_us FROM events WHERE stream_id = ? ORDER BY sequence DESC",
            (stream_id,),
        ):
            held = held or sequence
            if committed_us <= cutoff_us:
                break
            watermark = min(watermark, sequence - 1)
        return watermark, held

    def _first_since(self, stream_id: int, floor: int, head: int, since_us: int) -> int:
        """The first sequence committed at ``since_us`` or later, by halving."""
        low, high = floor, head + 1
        while low < high:
            middle = (low + high) // 2
            row = self._connection.execute(
                "SELECT committed_us FROM events WHERE stream_id = ? AND sequence >= ? "
                "ORDER BY sequence LIMIT 1",
                (stream_id, middle),
            ).fetchone()
            if row is None or row[0] >= since_us:
                high = middle
            else:
                low = middle + 1
        return low


def _next(cursors: Iterable[tuple[Any, ...]], routes: Iterable[tuple[Any, ...]]) -> dict[str, int]:
    """Per sink what it is sent next; without a hub the application's send is the legacy side."""
    found: dict[str, int] = dict(cursors)
    if "application" in found and all(sink != "websocket" for sink, *_ in routes):
        found["websocket"] = found["application"]
    return found


def _by_stream(connection: sqlite3.Connection, query: str) -> dict[int, list[tuple[Any, ...]]]:
    found: dict[int, list[tuple[Any, ...]]] = {}
    for stream_id, *rest in connection.execute(query):
        found.setdefault(stream_id, []).append(tuple(rest))
    return found
