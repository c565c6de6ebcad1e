"""Finds what is wrong in blocks whose digests differ, row by row.

Most rows of such a block are right. So the table is first asked for the hashes alone; only rows
whose hash is not that of the journal's row travel.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Protocol, TypeVar

from crossfade.core.digest import BlockDigest, block_of
from crossfade.core.event import Stream
from crossfade.core.reconciliation import STORES
from crossfade.core.reconciliation_plan import Block, JournalStream, Range
from crossfade.core.reconciliation_rows import BlockFindings, Row, classify
from crossfade.ports import StoreReader

__all__ = ["Drill", "Settle"]

DRILL_BLOCKS = 128
"""Differing blocks whose rows are held at a time."""

_Result = TypeVar("_Result")
_RowsOf = Mapping[Block, list[Row]]
_Singles = dict[Stream, dict[int, tuple[int, bool]]]
_Held = Sequence[tuple[Block, BlockDigest]]


class Settle(Protocol):
    """Waits for what a store answers; None when it failed, which is noted."""

    def __call__(self, name: str, answer: "Future[_Result]") -> _Result | None:
        """Raises JournalError when it is the journal that failed."""
        ...


class Drill:
    """The readers of a comparison, asked for rows."""

    def __init__(
        self,
        readers: Mapping[str, StoreReader],
        pool: Executor,
        settle: Settle,
        size: int,
        exact: Sequence[str],
    ) -> None:
        self._readers = readers
        self._pool = pool
        self._settle = settle
        self._size = size
        self._exact = exact

    def compare(
        self,
        blocks: Sequence[tuple[Block, dict[str, BlockDigest]]],
        streams: Mapping[Stream, JournalStream],
        covered: Callable[[int], bool],
    ) -> Iterator[tuple[Block, dict[str, BlockDigest], BlockFindings]]:
        """Each block with its digests and what is wrong in it.

        The journal is read after the others: what they hold must then be in it, since an event is
        journalled before it is sent.

        Raises:
            JournalError: the journal can not be read.
        """
        for start in range(0, len(blocks), DRILL_BLOCKS):
            part = blocks[start : start + DRILL_BLOCKS]
            names = [name for name in part[0][1] if name in ("supabase", "websocket", "journal")]
            held = {name: [(block, one[name]) for block, one in part] for name in names}
            singles = self._pool.submit(self._single_out, held.get("supabase", ()))
            recorded = self._pool.submit(self._rows, "websocket", held.get("websocket", ()))
            hashes = self._settle("supabase", singles)
            deliveries = self._settle("websocket", recorded)
            journal = self._rows("journal", held["journal"])
            found: dict[str, _RowsOf | None] = {"journal": journal, "websocket": deliveries}
            if hashes is not None:
                asked = self._pool.submit(
                    self._table_rows, held.get("supabase", ()), hashes, journal
                )
                found["supabase"] = self._settle("supabase", asked)
            for block, digests in part:
                rows = {
                    name: mine[block]
                    for name in STORES
                    if name in held and (mine := found.get(name)) is not None
                }
                findings = classify(
                    block, streams[block.stream], rows, covered=covered, exact=self._exact
                )
                yield block, digests, findings

    def _rows(self, name: str, blocks: _Held) -> _RowsOf:
        found: dict[Block, list[Row]] = {}
        for block, digest in blocks:
            found[block] = []
            if digest.events:
                held = self._readers[name].rows(block.stream, block.first, block.last)
                found[block].extend(held)
        return found

    def _single_out(self, blocks: _Held) -> _Singles:
        """The hashes of the table's rows, computed anew from their content."""
        ranges = [Range(b.stream, b.first, b.last) for b, digest in blocks if digest.events]
        found: _Singles = {}
        if not ranges:  # the table may not be among the stores at all
            return found
        for stream, sequence, content_hash, stale in self._readers["supabase"].hashes(ranges):
            found.setdefault(stream, {})[sequence] = content_hash, stale
        return found

    def _table_rows(self, blocks: _Held, singles: _Singles, journal: _RowsOf) -> _RowsOf:
        """The table's rows; where its hash is that of the journal's row, that one stands for it."""
        found: dict[Block, list[Row]] = {}
        asked: list[Range] = []
        for block, _ in blocks:
            found[block] = []
            mine = singles.get(block.stream, {})
            known = {row.event.sequence: row for row in journal[block]}
            for sequence in range(block.first, block.last + 1):
                one, row = mine.get(sequence), known.get(sequence)
                if one is None:
                    continue
                if row is not None and one == (row.hash, False):
                    event = row.event._replace(hash=row.hash)
                    found[block].append(row._replace(event=event, stored=row.hash))
                else:
                    asked.append(Range(block.stream, sequence, sequence))
        if not asked:
            return found
        of = {(block.stream, block.number): block for block in found}
        for row in self._readers["supabase"].rows_of(asked):
            sequence = row.event.sequence
            found[of[row.event.stream, block_of(sequence, self._size)]].append(row)
        return found
