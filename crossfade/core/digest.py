"""Digests of blocks: proof that two stores hold the same events, without moving the events.

A block is a fixed number of consecutive sequences of one stream. Since sequences are
gapless, a full block's count and bounds are arithmetic; only the hashes need reading.
Hashes are added modulo 2^64, never XORed: under XOR a pair of equal hashes cancels, so an
event doubled (or two of them altered alike) would go unseen, and sums of blocks add up to
sums of streams for free. Addition of hashes as a set fingerprint is the additive
construction of Bellare and Micciancio (Eurocrypt 1997), here against accidents and quiet
edits, not against an adversary who can search for colliding sums.
"""

from collections.abc import Iterable
from typing import NamedTuple

__all__ = [
    "BlockDigest",
    "DigestFold",
    "block_first",
    "block_last",
    "block_of",
    "digest_of",
    "merge",
    "same_content",
    "total_to_hex",
]

_MASK = 0xFFFF_FFFF_FFFF_FFFF


class BlockDigest(NamedTuple):
    """What one store holds of one block.

    ``events``, ``first``, ``last`` are the number, lowest and highest of the sequences
    held (0 when none); ``total`` is the sum of the hashes of their content modulo 2^64,
    unsigned. The other three number rows that need a look although the sum may agree:
    ``stale`` (content no longer has the checksum that travelled with it), ``repeated``
    (deliveries of a sequence beyond its first, which ``events`` and ``total`` leave out)
    and ``disordered`` (first delivered after a later sequence).
    """

    block: int
    events: int = 0
    first: int = 0
    last: int = 0
    total: int = 0
    stale: int = 0
    repeated: int = 0
    disordered: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether no row of it needs a look for its own sake."""
        return not (self.stale or self.repeated or self.disordered)


def block_of(sequence: int, size: int) -> int:
    """The number of the block that holds ``sequence``; blocks of ``size`` count from 0."""
    return (sequence - 1) // size


def block_first(block: int, size: int) -> int:
    """The first sequence of a block."""
    return block * size + 1


def block_last(block: int, size: int) -> int:
    """The last sequence of a block."""
    return (block + 1) * size


class DigestFold:
    """Adds up the digest of one block, row by row and in any order.

    Mutable on purpose: it runs once per event over whole stores.
    """

    __slots__ = ("_block", "_count", "_first", "_last", "_total", "disordered", "repeated", "stale")

    def __init__(self, block: int) -> None:
        self._block = block
        self._count = self._first = self._last = self._total = 0
        self.stale = self.repeated = self.disordered = 0

    def add(self, sequence: int, content_hash: int) -> None:
        """One row: its sequence and the (signed or unsigned) hash of its content."""
        if not self._count or sequence < self._first:
            self._first = sequence
        self._last = max(self._last, sequence)
        self._count += 1
        self._total += content_hash

    def digest(self) -> BlockDigest:
        """What was added so far."""
        return BlockDigest(
            self._block,
            self._count,
            self._first,
            self._last,
            self._total & _MASK,
            self.stale,
            self.repeated,
            self.disordered,
        )


def digest_of(block: int, pairs: Iterable[tuple[int, int]]) -> BlockDigest:
    """The digest of (sequence, hash) pairs, whatever their order."""
    fold = DigestFold(block)
    for sequence, content_hash in pairs:
        fold.add(sequence, content_hash)
    return fold.digest()


def merge(one: BlockDigest, other: BlockDigest) -> BlockDigest:
    """The digest of two disjoint parts of the same block (or, for a roll-up, of two blocks).

    The block number of ``one`` is kept.
    """
    if not one.events or not other.events:
        first = one.first or other.first
    else:
        first = min(one.first, other.first)
    return BlockDigest(
        one.block,
        one.events + other.events,
        first,
        max(one.last, other.last),
        (one.total + other.total) & _MASK,
        one.stale + other.stale,
        one.repeated + other.repeated,
        one.disordered + other.disordered,
    )


def same_content(one: BlockDigest, other: BlockDigest) -> bool:
    """Whether both hold the same sequences with the same content."""
    return one[1:5] == other[1:5]


def total_to_hex(total: int) -> str:
    """A total as 16 hexadecimal digits, for tables that people and pandas read."""
    return format(total & _MASK, "016x")
