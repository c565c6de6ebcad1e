"""Runs of sealed blocks: what the table must hold of many of them, as one digest.

Sums of hashes add up, so the digest of 64 blocks proves as much as 64 digests, and a full run
asks for, reads and compares a sixty-fourth of them. Only where a run differs are its blocks
looked at one by one.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from crossfade.core.digest import BlockDigest
from crossfade.core.event import Stream
from crossfade.core.intervals import contains
from crossfade.core.reconciliation_plan import Block, JournalStream, Seal

__all__ = ["RUN_BLOCKS", "SealedRun", "run_of", "sealed_runs"]

RUN_BLOCKS = 64
"""Blocks of a run at most: 16,384 events at the default block size."""
_MASK = 0xFFFF_FFFF_FFFF_FFFF


class SealedRun(NamedTuple):
    """Whole sealed blocks of a stream whose numbers lie in the same ``RUN_BLOCKS``.

    Not all of those need be in it: what is not sealed is left out. ``held`` is what journal and
    recording have of them by their seals, ``owed`` what of it the table must have; ``realtime``
    adds up what Realtime had delivered live.
    """

    stream: Stream
    number: int
    blocks: tuple[Block, ...]
    held: BlockDigest
    owed: BlockDigest
    realtime: int

    @property
    def block(self) -> Block:
        """The run as one block, from its first to its last sequence."""
        return self.blocks[0]._replace(last=self.blocks[-1].last)


def run_of(block: int) -> int:
    """The number of the run that a block is in."""
    return block // RUN_BLOCKS


def sealed_runs(
    sealed: Mapping[Block, Seal], streams: Mapping[Stream, JournalStream]
) -> list[SealedRun]:
    """The runs of blocks whose seals say what journal and tap hold of them, ascending.

    Each block must be whole, and owed to the table as a whole or not at all.
    """
    found: dict[tuple[Stream, int], list[Block]] = {}
    for block in sorted(sealed):
        found.setdefault((block.stream, run_of(block.number)), []).append(block)
    runs = []
    for (stream, number), blocks in found.items():
        owed = streams[stream].owed["supabase"]
        runs.append(
            SealedRun(
                stream,
                number,
                tuple(blocks),
                _digest(number, blocks, sealed),
                _digest(number, [one for one in blocks if contains(owed, one.first)], sealed),
                sum(sealed[block].realtime for block in blocks),
            )
        )
    return runs


def _digest(number: int, blocks: Sequence[Block], sealed: Mapping[Block, Seal]) -> BlockDigest:
    """The digest of ascending whole blocks, by their seals."""
    if not blocks:
        return BlockDigest(number)
    return BlockDigest(
        number,
        sum(block.last - block.first + 1 for block in blocks),
        blocks[0].first,
        blocks[-1].last,
        sum(sealed[block].total for block in blocks) & _MASK,
    )
