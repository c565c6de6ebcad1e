"""Which events each store must hold, and which blocks a run has to compare.

The journal is the record of what was published; each other store is owed some intervals of
it. A block that agreed in every store up to some sequence is *sealed* and skipped until
something in it can have changed: newer events, another expectation, or its turn in the
rotating scrub. So a run costs what changed, not what is stored.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from crossfade.core.digest import BlockDigest, block_first, block_last, block_of, merge
from crossfade.core.event import Stream

__all__ = [
    "Block",
    "Extent",
    "Interval",
    "JournalStream",
    "Outline",
    "Plan",
    "Range",
    "Seal",
    "Seals",
    "clip",
    "coalesce",
    "contains",
    "cut_ranges",
    "expected_digest",
    "plan_blocks",
    "size_of",
    "whole_ranges",
]

Interval = tuple[int, int]
"""First and last sequence, both included."""


class Range(NamedTuple):
    """Consecutive sequences of a stream, both ends included."""

    stream: Stream
    first: int
    last: int


class Extent(NamedTuple):
    """The lowest and highest sequence that a store holds of a stream."""

    stream: Stream
    floor: int
    head: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalStream:
    """What the journal says of one of its streams.

    ``floor`` and ``head`` are the first and last sequence it must hold; ``held`` the
    highest it does hold. ``watermark`` is the last sequence that is old enough to be
    judged: what follows was committed within the grace and is in flight. ``owed`` gives,
    per store, the intervals it must hold (disjoint, ascending, within floor and head);
    ``next`` per sink the sequence it is to be sent next (absent: the first); ``parked`` why
    Supabase refused a sequence for good.
    """

    stream: Stream
    category: str
    floor: int
    head: int
    held: int
    watermark: int
    owed: Mapping[str, tuple[Interval, ...]]
    next: Mapping[str, int] = field(default_factory=dict)
    parked: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outline:
    """The journal at one moment: its streams, and the (source, epoch) pairs it speaks for."""

    scope: frozenset[tuple[str, int]]
    streams: tuple[JournalStream, ...]


class Seal(NamedTuple):
    """A block that agreed in every store.

    ``last`` is the last sequence compared (the block may have grown since); ``websocket``
    and ``supabase`` how many of its events they were expected to hold; ``realtime`` how many
    Realtime had delivered live; ``total`` the sum of the journal's hashes; ``verified_us`` when.
    """

    last: int
    websocket: int
    supabase: int
    realtime: int
    total: int
    verified_us: int


Seals = Mapping[Stream, Mapping[int, Seal]]


class Block(NamedTuple):
    """One block to compare: sequences ``first`` to ``last``, all below the watermark."""

    stream: Stream
    number: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The blocks to compare, and what the sealed rest stands for.

    ``skipped`` is the number of sealed blocks left out, ``skipped_realtime`` the events of
    them that Realtime had delivered.
    """

    blocks: tuple[Block, ...]
    skipped: int
    skipped_realtime: int


def coalesce(
    intervals: Iterable[tuple[int, int | None]], floor: int, head: int
) -> tuple[Interval, ...]:
    """Sort, clip to ``floor`` … ``head`` and join intervals; an open end reaches the head."""
    found: list[Interval] = []
    for first, last in sorted((first, head if last is None else last) for first, last in intervals):
        low, high = max(first, floor), min(last, head)
        if low > high:
            continue
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)


def clip(intervals: Sequence[Interval], first: int, last: int) -> list[Interval]:
    """The parts of ``intervals`` within ``first`` … ``last``."""
    return [
        (max(low, first), min(high, last))
        for low, high in intervals
        if max(low, first) <= min(high, last)
    ]


def size_of(intervals: Sequence[Interval], first: int, last: int) -> int:
    """How many sequences of ``first`` … ``last`` lie in ``intervals``."""
    return sum(high - low + 1 for low, high in clip(intervals, first, last))


def contains(intervals: Sequence[Interval], sequence: int) -> bool:
    """Whether ``sequence`` lies in one of ``intervals``."""
    return any(low <= sequence <= high for low, high in intervals)


def plan_blocks(
    streams: Iterable[JournalStream], seals: Seals, size: int, *, full: bool, scrub: int
) -> Plan:
    """Choose the blocks to compare: all open ones, and the ``scrub`` longest unverified seals.

    ``full`` takes every block. Blocks come stream by stream, ascending.
    """
    chosen: list[Block] = []
    clean: list[tuple[int, Block, Seal]] = []
    for facts in streams:
        if facts.watermark < facts.floor:
            continue
        sealed = seals.get(facts.stream, {})
        for number in range(block_of(facts.floor, size), block_of(facts.watermark, size) + 1):
            first = max(block_first(number, size), facts.floor)
            last = min(block_last(number, size), facts.watermark)
            block = Block(facts.stream, number, first, last)
            seal = sealed.get(number)
            if (
                not full
                and seal is not None
                and seal.last == last
                and all(
                    getattr(seal, store) == size_of(facts.owed[store], first, last)
                    for store in ("websocket", "supabase")
                )
            ):
                clean.append((seal.verified_us, block, seal))
            else:
                chosen.append(block)
    clean.sort()
    chosen.extend(block for _, block, _ in clean[:scrub])
    chosen.sort()
    rest = clean[scrub:]
    return Plan(tuple(chosen), len(rest), sum(seal.realtime for _, _, seal in rest))


def cut_ranges(blocks: Iterable[Block], owed: Mapping[Stream, JournalStream]) -> Iterator[Range]:
    """The ranges to ask the journal for: blocks, cut where a store's expectation begins or ends.

    Each of the digests that come back is thus either wholly or not at all owed to a store.
    """
    for block in blocks:
        facts = owed[block.stream]
        cuts = {block.first, block.last + 1}
        for intervals in facts.owed.values():
            for low, high in clip(intervals, block.first, block.last):
                cuts |= {low, high + 1}
        borders = sorted(cuts)
        for low, high in pairwise(borders):
            yield Range(block.stream, low, high - 1)


def whole_ranges(blocks: Iterable[Block]) -> Iterator[Range]:
    """The ranges to ask any other store for: consecutive blocks joined."""
    current: Range | None = None
    for block in blocks:
        if current and current.stream == block.stream and current.last + 1 == block.first:
            current = current._replace(last=block.last)
            continue
        if current:
            yield current
        current = Range(block.stream, block.first, block.last)
    if current:
        yield current


def expected_digest(
    block: Block, parts: Sequence[BlockDigest], intervals: Sequence[Interval]
) -> BlockDigest:
    """The digest a store must have of ``block`` when it is owed ``intervals``.

    ``parts`` are the journal's digests of the ranges that ``cut_ranges`` made of the block.
    """
    found = BlockDigest(block.number)
    for part in parts:
        if part.events and contains(intervals, part.first):
            found = merge(found, part._replace(stale=0))
    return found
