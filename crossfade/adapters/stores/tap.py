"""Reads a tap's recording (docs/protocol.md section 5), one transport at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from crossfade.adapters.recording_sqlite import VERSION
from crossfade.adapters.stores.columns import (
    Columns,
    ReadPiece,
    columns_query,
    digests_of,
    hashes_of,
    read_columns,
)
from crossfade.adapters.stores.sqlite import (
    changes_of,
    open_read_only,
    read_rows,
    translated,
)
from crossfade.core.digest import BlockDigest
from crossfade.core.event import Event, Stream, content_hash
from crossfade.core.intervals import Interval
from crossfade.core.reconciliation_plan import Changes, Extent, Range
from crossfade.core.reconciliation_rows import Hashes, Row
from crossfade.errors import StoreRejected, StoreUnavailable

__all__ = ["TapReader"]

LOOK_AHEAD = 1_000
"""An event counts as out of order when one of this many later sequences arrived before it."""
CACHE_KIB = 24_576
"""Pages held: deliveries lie as they arrived, so that neighbours of one stream are on many."""
ARRIVED_TOGETHER = 256
"""New deliveries of so many consecutive sequences are told as one range."""

_DELIVERIES = (
    "SELECT arrival, sequence, id, type, time_us, subject, category, data, checksum "
    "FROM deliveries WHERE transport = ? AND stream_id = ? AND sequence BETWEEN ? AND ? "
    "ORDER BY sequence DESC, arrival"
)
_PIECE = "transport = :transport AND stream_id = :id AND sequence BETWEEN :first AND :last"
_COLUMNS = columns_query("deliveries", _PIECE, arrival="arrival")


class TapReader:
    """Implements ``ports.TapReader`` over the recording's file, read-only.

    ``name`` is the transport. Hashes are computed from the content recorded; duplicates are
    kept apart and the order of arrival is judged, on ``websocket`` only (Realtime promises
    none). Memory does not grow with the recording.

    Raises:
        StoreUnavailable: missing or unreadable.
        StoreRejected: no recording, or one of another version.
    """

    def __init__(self, path: Path, transport: str) -> None:
        self.name = transport
        self._path = path
        self._ordered = transport == "websocket"
        self._connection = open_read_only(path, StoreUnavailable)
        self._connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        try:
            self._check_version()
            self._ids = self._stream_ids()
        except BaseException:
            self._connection.close()
            raise

    def coverage(self) -> tuple[Interval, ...]:
        """When the tap was connected to this transport and saw heads: microseconds, ascending."""
        with translated(self._path, StoreUnavailable):
            return tuple(
                self._connection.execute(
                    "SELECT from_us, to_us FROM coverage WHERE transport = ? ORDER BY from_us",
                    (self.name,),
                )
            )

    def streams(self) -> list[Extent]:
        """The lowest and highest sequence recorded of each stream."""
        found = []
        with translated(self._path, StoreUnavailable):
            self._ids = self._stream_ids()
            for stream, stream_id in self._ids.items():
                where = "FROM deliveries WHERE transport = :transport AND stream_id = :id"
                low, high = self._connection.execute(
                    f"SELECT (SELECT min(sequence) {where}), (SELECT max(sequence) {where})",
                    {"transport": self.name, "id": stream_id},
                ).fetchone()
                if low is not None:
                    found.append(Extent(stream, low, high))
        return found

    def changes(self, since: str) -> Changes:
        """Deliveries updated, deleted or recorded since a mark ("" for none).

        What is recorded anew may repeat or overtake what was compared before.
        """
        with translated(self._path, StoreUnavailable):
            # The newest delivery is read before the log: what is recorded between is told again.
            (arrival,) = self._connection.execute(
                "SELECT coalesce(max(arrival), 0) FROM deliveries"
            ).fetchone()
            logged, _, seen = since.partition(":")
            found = changes_of(self._connection, "deliveries", logged, self._stream_ids)
            ranges = list(found.ranges or ())
            # The streams are read after both: a stream's first delivery may be the newest.
            self._ids = self._stream_ids()
            if seen:
                streams = {stream_id: stream for stream, stream_id in self._ids.items()}
                ranges += [
                    Range(streams[stream_id], low, high)
                    for stream_id, low, high in self._connection.execute(
                        # By arrival: the index of streams, whose order the groups would like,
                        # is as long as the recording.
                        "SELECT stream_id, min(sequence), max(sequence) FROM deliveries "
                        "NOT INDEXED WHERE arrival > ? AND arrival <= ? AND transport = ? "
                        "GROUP BY stream_id, sequence / ?",
                        (int(seen), arrival, self.name, ARRIVED_TOGETHER),
                    )
                ]
            mark = f"{found.mark}:{arrival}"
            return Changes(mark, None if found.ranges is None else tuple(ranges))

    def digests(
        self, ranges: Sequence[Range], block: int, *, anew: bool = False
    ) -> Iterator[tuple[Stream, BlockDigest]]:
        """Per range a digest of each block it touches that holds deliveries, the last block first.

        Always computed anew: the file keeps no hash of its own.
        """
        for asked in ranges:
            read = self._piece_of(asked.stream)
            yield from digests_of(asked, block, read, self._later(asked))

    def rows(self, stream: Stream, first: int, last: int) -> Iterator[Row]:
        """The deliveries of a range: descending by sequence, repeated ones by arrival."""
        with translated(self._path, StoreUnavailable):
            stream_id = self._id(stream)
            if stream_id is None:
                return
            source, epoch, topic, partition = stream
            earliest = self._earliest(stream_id, last) if self._ordered else None
            pending = earliest
            previous = None
            for (
                arrival,
                sequence,
                id_,
                type_,
                time_us,
                subject,
                category,
                data,
                checksum,
            ) in read_rows(self._connection, _DELIVERIES, (self.name, stream_id, first, last)):
                first_copy = sequence != previous
                if first_copy:
                    earliest = pending
                    if self._ordered:
                        pending = arrival if earliest is None else min(earliest, arrival)
                    previous = sequence
                event = Event(
                    id_, source, type_, time_us, subject, category, topic, partition, epoch,
                    sequence, data, checksum,
                )  # fmt: skip
                late = first_copy and earliest is not None and arrival > earliest
                yield Row(event, content_hash(event), disordered=late)

    def hashes(self, ranges: Sequence[Range]) -> Iterator[Hashes]:
        """The hashes of the ranges' first deliveries, computed from the content."""
        for asked in ranges:
            yield from hashes_of(asked, self._piece_of(asked.stream), self._later(asked))

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
            with translated(self._path, StoreUnavailable):
                held = read_columns(
                    self._connection,
                    _COLUMNS,
                    stream,
                    {"transport": self.name, "id": stream_id, "first": first, "last": last},
                    lambda: self.rows(stream, first, last),
                )
            return held if self._ordered else held._replace(arrivals=())

        return read

    def _later(self, asked: Range) -> int | None:
        stream_id = self._id(asked.stream)
        if stream_id is None or not self._ordered:
            return None
        with translated(self._path, StoreUnavailable):
            return self._earliest(stream_id, asked.last)

    def _check_version(self) -> None:
        with translated(self._path, StoreUnavailable):
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version != VERSION:
            raise StoreRejected(
                f"{self._path}: recording of version {version}, this Crossfade reads {VERSION}"
                if version
                else f"{self._path}: no recording of a tap"
            )

    def _earliest(self, stream_id: int, after: int) -> int | None:
        """The earliest arrival among the sequences just after a range."""
        (arrival,) = self._connection.execute(
            "SELECT min(arrival) FROM deliveries "
            "WHERE transport = ? AND stream_id = ? AND sequence BETWEEN ? AND ?",
            (self.name, stream_id, after + 1, after + LOOK_AHEAD),
        ).fetchone()
        return None if arrival is None else int(arrival)

    def _stream_ids(self) -> dict[Stream, int]:
        with translated(self._path, StoreUnavailable):
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
