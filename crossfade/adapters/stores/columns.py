"""Content of rows in SQLite files, hashed many rows at a time and without making events of them.

SQLite joins a piece's rows into one text of what their hashes are over, so that Python only cuts
and hashes: half the work of reading rows, or less, most of it outside the interpreter's lock.
"""

import hashlib
import sqlite3
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from operator import lt, ne
from typing import NamedTuple

from crossfade.core.digest import BlockDigest, block_first, block_last, block_of, merge
from crossfade.core.event import Stream, content_hash
from crossfade.core.reconciliation_plan import Range
from crossfade.core.reconciliation_rows import Hashes, Row

__all__ = [
    "PIECE",
    "Columns",
    "ReadPiece",
    "columns_query",
    "digests_of",
    "hashes_of",
    "read_columns",
]

PIECE = 256
"""Sequences read by one statement: some 16 MB of text when every event is as large as it may be."""
_APART = b"\x1e"
"""Between rows. No field may hold it; where one does, the piece is read row by row."""
_MASK = (1 << 64) - 1


class Columns(NamedTuple):
    """A piece's rows: ascending sequences, repeated ones by arrival; parallel tuples.

    ``hashes`` are of the content, ``checksums`` those kept beside it; ``arrivals`` the order of
    delivery, empty where none is judged.
    """

    sequences: Sequence[int] = ()
    hashes: Sequence[int] = ()
    checksums: Sequence[int] = ()
    arrivals: Sequence[int] = ()

    @property
    def is_plain(self) -> bool:
        """Whether no sequence occurs twice."""
        return all(map(lt, self.sequences, self.sequences[1:]))

    @property
    def in_order(self) -> "Columns":
        """By sequence, repeated ones by arrival."""
        if self.is_plain:
            return self
        keys = zip(self.sequences, self.arrivals or self.sequences, strict=True)
        order = [at for _, at in sorted(zip(keys, range(len(self.sequences)), strict=True))]
        return Columns(*(tuple(column[at] for at in order) if column else () for column in self))

    @property
    def first_deliveries(self) -> "Columns":
        """Without the further deliveries of a sequence."""
        if self.is_plain:
            return self
        kept = [
            at for at, one in enumerate(self.sequences) if not at or one != self.sequences[at - 1]
        ]
        return Columns(*(tuple(column[at] for at in kept) if column else () for column in self))

    def disordered(self, later: int | None) -> list[int]:
        """The sequences delivered after a later one; of first deliveries.

        ``later`` is the earliest arrival of the sequences that follow the piece.
        """
        ascend = all(map(lt, self.arrivals, self.arrivals[1:]))
        if ascend and (later is None or not self.arrivals or self.arrivals[-1] < later):
            return []
        late = []
        for sequence, arrival in zip(
            reversed(self.sequences), reversed(self.arrivals), strict=False
        ):
            if later is not None and arrival > later:
                late.append(sequence)
            else:
                later = arrival
        return late


ReadPiece = Callable[[int, int], Columns]
"""Reads the rows from a first to a last sequence."""


def columns_query(table: str, where: str, arrival: str | None) -> str:
    """The statement that ``read_columns`` runs over the rows of ``table`` that ``where`` chooses.

    Its parameters: ``prefix``, and those of ``where``. ``arrival`` names the column that says in
    which order rows were delivered.
    """
    content = " || '\x1f' || ".join(
        ("sequence", "id", "type", "time_us", "subject", "category", "data")
    )
    arrivals = f"group_concat({arrival})" if arrival else "NULL"
    # Names of our own tables and columns only, never values. Without an ORDER BY, which would have
    # SQLite copy every row first: the index's order is right, and looked at afterwards.
    return f"""
        SELECT group_concat(sequence), group_concat(CAST(checksum AS INTEGER)), {arrivals},
               CAST(group_concat(:prefix || {content}, '\x1e') AS BLOB)
        FROM {table} WHERE {where}"""  # noqa: S608


def read_columns(
    connection: sqlite3.Connection,
    query: str,
    stream: Stream,
    parameters: dict[str, object],
    rows: Callable[[], Iterable[Row]],
) -> Columns:
    """A piece by a statement of ``columns_query``.

    Args:
        rows: reads the same piece row by row, repeated deliveries by arrival; for damaged content.
    """
    source, epoch, topic, partition = stream
    prefix = f"{source}\x1f{epoch}\x1f{topic}\x1f{partition}\x1f"
    sequences, checksums, arrivals, text = connection.execute(
        query, parameters | {"prefix": prefix}
    ).fetchone()
    if sequences is None:
        return Columns()
    contents = text.split(_APART)
    held = Columns(
        _integers(sequences), (), _integers(checksums), _integers(arrivals) if arrivals else ()
    )
    count = len(held.sequences)
    if len(contents) != count:
        found = sorted(rows(), key=lambda row: row.event.sequence)
        hashes = tuple(content_hash(row.event) for row in found)
        return held.in_order._replace(hashes=hashes)
    sha256 = hashlib.sha256
    heads = b"".join([sha256(content).digest()[:8] for content in contents])
    return held._replace(hashes=struct.unpack(f">{count}q", heads)).in_order


def digests_of(
    asked: Range, size: int, read: ReadPiece, later: int | None = None
) -> Iterator[tuple[Stream, BlockDigest]]:
    """Digests of a range's blocks from its rows, the last block first.

    Only a piece's rows are held. ``later`` is the earliest arrival behind the range.
    """
    for number in range(block_of(asked.last, size), block_of(asked.first, size) - 1, -1):
        whole = BlockDigest(number)
        span = range(
            max(asked.first, block_first(number, size)),
            min(asked.last, block_last(number, size)) + 1,
        )
        for first in reversed(span[::PIECE]):
            held = read(first, min(first + PIECE - 1, span[-1]))
            kept = held.first_deliveries
            if not kept.sequences:
                continue
            part = BlockDigest(
                number,
                len(kept.sequences),
                kept.sequences[0],
                kept.sequences[-1],
                sum(kept.hashes) & _MASK,
                _stale(held),
                len(held.sequences) - len(kept.sequences),
                len(kept.disordered(later)),
            )
            whole = merge(whole, part)
            later = _earliest(kept.arrivals, later)
        if whole.events:
            yield asked.stream, whole


def hashes_of(asked: Range, read: ReadPiece, later: int | None = None) -> Iterator[Hashes]:
    """The hashes of a range's rows, piece by piece, the last first."""
    for first in reversed(range(asked.first, asked.last + 1, PIECE)):
        held = read(first, min(first + PIECE - 1, asked.last))
        kept = held.first_deliveries
        odd = set(kept.disordered(later))
        if len(kept.sequences) < len(held.sequences):
            odd.update(one for one, other in pairwise(held.sequences) if one == other)
        if held.hashes != held.checksums:
            odd.update(
                sequence for sequence, one, other in zip(*held[:3], strict=True) if one != other
            )
        yield Hashes(asked.stream, kept.sequences, kept.hashes, odd)
        later = _earliest(kept.arrivals, later)


def _integers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _stale(held: Columns) -> int:
    if held.hashes == held.checksums:
        return 0
    return sum(map(ne, held.hashes, held.checksums))


def _earliest(arrivals: Sequence[int], later: int | None) -> int | None:
    return min((*arrivals, later) if later is not None else arrivals, default=later)
