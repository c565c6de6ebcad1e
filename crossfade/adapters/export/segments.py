"""Rows and digests as Parquet, and back."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from crossfade.core.digest import BlockDigest, DigestFold, block_first, block_last, block_of
from crossfade.core.reconciliation_rows import Row
from crossfade.errors import JournalUnavailable

__all__ = ["GROUP_ROWS", "Piece", "SegmentFile", "SegmentWriter", "read_pieces"]

GROUP_ROWS = 2_048
"""Rows of a row group: so many are decoded together."""
_GROUPS_HELD = 4
"""Decoded row groups that an open segment keeps."""

_ROWS = pa.schema(
    [
        ("sequence", pa.int64()),
        ("id", pa.string()),
        ("type", pa.string()),
        ("time_us", pa.int64()),
        ("subject", pa.string()),
        ("category", pa.string()),
        ("data", pa.string()),
        ("checksum", pa.int64()),
        ("committed_us", pa.int64()),
    ]
)
_PIECES = pa.schema(
    [
        ("part", pa.int32()),
        ("low", pa.int64()),
        ("high", pa.int64()),
        ("block", pa.int64()),
        ("events", pa.int64()),
        ("first", pa.int64()),
        ("last", pa.int64()),
        ("total", pa.uint64()),
        ("stale", pa.int64()),
    ]
)

Fields = tuple[int, str, str, int, str, str, str, int, int]
"""A row: sequence, id, type, time_us, subject, category, data, checksum, committed_us."""


class Piece(NamedTuple):
    """The digest of the part of a block that lies in a part: sequences ``low`` to ``high``."""

    part: int
    low: int
    high: int
    digest: BlockDigest


class SegmentWriter:
    """Collects the rows of one segment, part by part; its memory is the segment's size."""

    def __init__(self, block: int) -> None:
        self._block = block
        self._columns: list[list[Any]] = [[] for _ in _ROWS]
        self._pieces: list[Piece] = []
        self._fold: DigestFold | None = None
        self._low = self._number = self._next = 0
        self.parts = 0
        self.bytes = 0

    @property
    def rows(self) -> int:
        """Rows so far."""
        return len(self._columns[0])

    def begin(self, first: int) -> None:
        """The part that begins with this sequence follows."""
        self._next = first
        self._open(first)

    def add(self, row: Row) -> None:
        """The part's next row.

        Raises:
            ValueError: it is not above the last one.
        """
        event = row.event
        if event.sequence < self._next:
            raise ValueError(f"{event.position}: not in order")
        while block_of(event.sequence, self._block) > self._number:
            self._close(block_last(self._number, self._block))
            self._open(block_first(self._number + 1, self._block))
        self._next = event.sequence + 1
        if self._fold is not None:
            self._fold.add(event.sequence, row.hash)
            self._fold.stale += row.is_stale
        fields: Fields = (
            event.sequence, event.id, event.type, event.time_us, event.subject, event.category,
            event.data, event.hash, event.committed_us,
        )  # fmt: skip
        for column, value in zip(self._columns, fields, strict=True):
            column.append(value)
        self.bytes += len(event.data) + len(event.id) + 64

    def end(self, last: int) -> None:
        """The part ends with this sequence, whether or not there is a row of it."""
        while block_of(last, self._block) > self._number:
            self._close(block_last(self._number, self._block))
            self._open(block_first(self._number + 1, self._block))
        self._close(last)
        self.parts += 1

    def files(self) -> tuple[bytes, bytes]:
        """The rows and the digests, as two Parquet files.

        Raises:
            JournalUnavailable: a row holds what no journal's row may.
        """
        try:
            rows = pa.table(dict(zip(_ROWS.names, self._columns, strict=True)), schema=_ROWS)
        except (pa.ArrowException, UnicodeError, OverflowError) as error:
            raise JournalUnavailable(
                f"a row of the journal can not be exported: {error}"
            ) from error
        pieces = [
            [one.part for one in self._pieces],
            [one.low for one in self._pieces],
            [one.high for one in self._pieces],
            *(
                [getattr(one.digest, name) for one in self._pieces]
                for name in ("block", "events", "first", "last", "total", "stale")
            ),
        ]
        digests = pa.table(dict(zip(_PIECES.names, pieces, strict=True)), schema=_PIECES)
        return _parquet(rows), _parquet(digests)

    def _open(self, low: int) -> None:
        self._low, self._number = low, block_of(low, self._block)
        self._fold = DigestFold(self._number)

    def _close(self, high: int) -> None:
        if self._fold is not None:
            self._pieces.append(Piece(self.parts, self._low, high, self._fold.digest()))


class SegmentFile:
    """The rows of a segment, from its content."""

    def __init__(self, content: bytes) -> None:
        self._file = pq.ParquetFile(pa.BufferReader(content))
        self._group = lru_cache(_GROUPS_HELD)(self._file.read_row_group)

    def rows(self, start: int, end: int) -> Iterator[Fields]:
        """The rows numbered ``start`` to ``end`` - 1, in order."""
        while start < end:
            number, within = divmod(start, GROUP_ROWS)
            count = min(end - start, GROUP_ROWS - within)
            columns = self._group(number).slice(within, count).columns
            yield from zip(*(column.to_pylist() for column in columns), strict=True)
            start += count


def read_pieces(content: bytes) -> Sequence[Piece]:
    """The digests of a segment, from its content."""
    columns = pq.read_table(pa.BufferReader(content)).columns
    return [
        Piece(part, low, high, BlockDigest(block, events, first, last, total, stale))
        for part, low, high, block, events, first, last, total, stale in zip(
            *(column.to_pylist() for column in columns), strict=True
        )
    ]


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=GROUP_ROWS, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content
