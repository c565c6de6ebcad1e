"""Finds what is wrong in blocks whose digests differ, row by row.

Most rows of such a block are right. So every store is first asked for the hashes alone; only the
rows whose hashes are not the same everywhere are read.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Protocol, TypeVar

from crossfade.core.digest import BlockDigest, block_of, digest_of, merge
from crossfade.core.event import Stream
from crossfade.core.reconciliation import STORES
from crossfade.core.reconciliation_plan import Block, JournalStream, Range
from crossfade.core.reconciliation_rows import BlockFindings, Hashes, Row, classify
from crossfade.ports import StoreReader

__all__ = ["Drill", "Settle"]

DRILL_ROWS = 65_536
"""Sequences of differing blocks that are drilled at a time (one block at least)."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_Key = tuple[Stream, int]
"""A block's stream and number."""


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
        for part in self._parts(blocks):
            held = {
                name: [block for block, digests in part if digests[name].events]
                for name in STORES
                if name in part[0][1]
            }
            digests_of = dict(part)
            for block, findings, _ in self._drill(list(digests_of), held, streams, covered):
                yield block, digests_of[block], findings

    def look(
        self,
        blocks: Sequence[Block],
        names: Iterable[str],
        streams: Mapping[Stream, JournalStream],
        covered: Callable[[int], bool],
    ) -> Iterator[tuple[Block, dict[str, BlockDigest], BlockFindings]]:
        """The same of blocks whose digests nobody asked for: they are made of the hashes.

        Every row of which something is to be said counts as stale in them.

        Raises:
            JournalError: the journal can not be read.
        """
        stores = list(names)
        for part in self._parts(blocks):
            asked = dict.fromkeys(stores, part)
            for block, findings, found in self._drill(part, asked, streams, covered):
                key = (block.stream, block.number)
                digests = {
                    name: _digest(block.number, hashes.get(key, ()))
                    for name, hashes in found.items()
                }
                yield block, digests, findings

    def _parts(self, blocks: "Sequence[_Item]") -> "Iterator[Sequence[_Item]]":
        each = max(1, DRILL_ROWS // self._size)
        for start in range(0, len(blocks), each):
            yield blocks[start : start + each]

    def _drill(
        self,
        blocks: Sequence[Block],
        held: Mapping[str, Sequence[Block]],
        streams: Mapping[Stream, JournalStream],
        covered: Callable[[int], bool],
    ) -> "Iterator[tuple[Block, BlockFindings, dict[str, dict[_Key, list[Hashes]]]]]":
        """Each block with what is wrong in it, and all hashes; ``held`` says whom to ask."""
        found = self._read(list(held), lambda name: self._hashes(held[name], name))
        alike = {block: _alike(block, found) for block in blocks}
        suspects = [one for block in alike for one in _others(block, alike[block])]
        rows = self._read(list(found), partial(self._rows, suspects))
        for block in blocks:
            key = (block.stream, block.number)
            findings = classify(
                block,
                streams[block.stream],
                {name: mine.get(key, ()) for name, mine in rows.items()},
                covered=covered,
                exact=self._exact,
                alike=alike[block],
            )
            yield block, findings, found

    def _read(
        self, names: Sequence[str], ask: Callable[[str], "dict[_Key, _Result]"]
    ) -> "dict[str, dict[_Key, _Result]]":
        """What each store answers, the journal asked last; without those that failed."""
        waiting = {name: self._pool.submit(ask, name) for name in names if name != "journal"}
        found: dict[str, dict[_Key, _Result]] = {}
        for name, answer in waiting.items():
            settled = self._settle(name, answer)
            if settled is not None:
                found[name] = settled
        found["journal"] = ask("journal")
        return {name: found[name] for name in names if name in found}

    def _hashes(self, blocks: Iterable[Block], name: str) -> dict[_Key, list[Hashes]]:
        asked = [Range(block.stream, block.first, block.last) for block in blocks]
        found: dict[_Key, list[Hashes]] = {}
        for one in self._readers[name].hashes(asked) if asked else ():
            if one.sequences:
                key = (one.stream, block_of(one.sequences[0], self._size))
                found.setdefault(key, []).append(one)
        return found

    def _rows(self, ranges: Sequence[Range], name: str) -> dict[_Key, list[Row]]:
        found: dict[_Key, list[Row]] = {}
        for row in self._readers[name].rows_of(ranges) if ranges else ():
            key = (row.event.stream, block_of(row.event.sequence, self._size))
            found.setdefault(key, []).append(row)
        return found


def _digest(number: int, hashes: Iterable[Hashes]) -> BlockDigest:
    """The digest of a block from the hashes of its rows, in parts."""
    total = BlockDigest(number)
    for one in hashes:
        part = digest_of(number, zip(one.sequences, one.hashes, strict=True))
        total = merge(total, part._replace(stale=len(one.odd)))
    return total


def _alike(block: Block, held: Mapping[str, Mapping[_Key, Iterable[Hashes]]]) -> dict[int, int]:
    """The sequences of a block, with their hashes, that are the same in every store and not odd."""
    odd: set[int] = set()
    common: set[tuple[int, int]] | None = None
    for found in held.values():
        mine: set[tuple[int, int]] = set()
        for one in found.get((block.stream, block.number), ()):
            mine.update(zip(one.sequences, one.hashes, strict=True))
            odd.update(one.odd)
        common = mine if common is None else common & mine
    return {sequence: value for sequence, value in common or () if sequence not in odd}


def _others(block: Block, alike: Mapping[int, int]) -> Iterator[Range]:
    """The runs of a block's sequences that are not ``alike``."""
    first = None
    for sequence in range(block.first, block.last + 2):
        if sequence <= block.last and sequence not in alike:
            first = sequence if first is None else first
        elif first is not None:
            yield Range(block.stream, first, sequence - 1)
            first = None
