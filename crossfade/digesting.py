"""Asks every store for the digests of blocks, all of them at once."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future

from crossfade.core.digest import BlockDigest
from crossfade.core.event import Stream
from crossfade.core.reconciliation_plan import (
    Block,
    Extent,
    JournalStream,
    Range,
    Seal,
    cut_ranges,
    whole_ranges,
)
from crossfade.drilling import Settle
from crossfade.ports import StoreReader

__all__ = ["Asked", "Digesting", "read_digests"]

_Key = tuple[Stream, int]
_Digests = dict[_Key, list[BlockDigest]]
Asked = Mapping[str, Sequence["Future[_Digests]"]]
"""Per store, what it was asked for and has not answered yet."""


class Digesting:
    """The readers of a comparison, asked for digests.

    Args:
        size: sequences a block.
        extents: which streams each store but the journal holds; for others it is not asked.
        vouched: seals that stand for what journal and tap hold of their blocks.
    """

    def __init__(
        self,
        readers: Mapping[str, StoreReader],
        pool: Executor,
        settle: Settle,
        size: int,
        extents: Mapping[str, Sequence[Extent]],
        vouched: Mapping[Block, Seal],
    ) -> None:
        self._readers = readers
        self._pool = pool
        self._settle = settle
        self._size = size
        self._extents = extents
        self._vouched = vouched

    def ask(
        self,
        names: Iterable[str],
        blocks: Sequence[Block],
        streams: Mapping[Stream, JournalStream],
        anew: Collection[Block] | None,
    ) -> Asked:
        """Ask the stores named for digests of blocks; the journal's cut where expectations change.

        ``anew`` are the blocks to hash from the content; None for all.
        """
        return {
            name: [
                self._pool.submit(
                    read_digests, self._readers[name], ranges, self._size, anew=hashed
                )
                for ranges, hashed in self._parts(name, blocks, streams, anew)
                if ranges
            ]
            for name in names
        }

    def answered(self, asked: Asked, blocks: Sequence[Block]) -> dict[str, _Digests]:
        """Per store that could be read, the digests that were asked for.

        Raises:
            JournalError: the journal can not be read.
        """
        found: dict[str, _Digests] = {}
        for name, futures in asked.items():
            answers = [self._settle(name, future) for future in futures]
            if None not in answers:
                found[name] = {
                    key: one for answer in answers for key, one in (answer or {}).items()
                }
        for block in blocks if self._vouched else ():
            seal = self._vouched.get(block)
            if seal is not None:
                for name in found.keys() - {"supabase"}:
                    found[name][block.stream, block.number] = [_of_seal(block, seal, name)]
        return found

    def _parts(
        self,
        name: str,
        blocks: Sequence[Block],
        streams: Mapping[Stream, JournalStream],
        anew: Collection[Block] | None,
    ) -> list[tuple[list[Range], bool]]:
        """The ranges to ask a store for, and whether their content is to be hashed."""
        if name != "journal":
            held = {extent.stream for extent in self._extents.get(name, ())}
            blocks = [block for block in blocks if block.stream in held]
        if name != "supabase" and self._vouched:
            blocks = [block for block in blocks if block not in self._vouched]
        if name not in ("journal", "supabase"):  # a recording keeps no hash of its own
            return [(list(whole_ranges(blocks)), True)]
        # An exported journal has digests beside its rows, as the table has: hints, except where it
        # is their turn to be proven.
        fresh = list(blocks) if anew is None else [block for block in blocks if block in anew]
        rest = [] if anew is None else [block for block in blocks if block not in anew]
        if name == "journal":
            return [
                (list(cut_ranges(rest, streams)), False),
                (list(cut_ranges(fresh, streams)), True),
            ]
        return [(list(whole_ranges(rest)), False), (list(whole_ranges(fresh)), True)]


def read_digests(
    reader: StoreReader, ranges: Sequence[Range], size: int, *, anew: bool
) -> dict[_Key, list[BlockDigest]]:
    """A store's digests by stream and block; several of a block that the ranges cut.

    Raises:
        StoreError, JournalError: the store can not be read.
    """
    found: _Digests = {}
    for stream, digest in reader.digests(ranges, size, anew=anew):
        found.setdefault((stream, digest.block), []).append(digest)
    return found


def _of_seal(block: Block, seal: Seal, store: str) -> BlockDigest:
    """The digest that a store had of a whole block when it was sealed."""
    if store == "realtime":
        return BlockDigest(block.number, seal.realtime)
    count = block.last - block.first + 1
    return BlockDigest(block.number, count, block.first, block.last, seal.total)
