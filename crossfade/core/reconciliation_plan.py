"""Which events each store must hold, and which blocks a run has to compare.

The journal is the record of what was published; each other store is owed some intervals of
it. A block that agreed in every store up to some sequence is *sealed* and skipped until
something in it can have changed: newer events, another expectation, or its turn in the
rotating scrub. So a run costs what changed, not what is stored.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

from crossfade.core.digest import BlockDigest, block_first, block_last, block_of, merge
from crossfade.core.event import MAX_INTEGER, Position, Stream
from crossfade.core.intervals import Interval, clip, coalesce, contains, without
from crossfade.errors import InvalidEvent

__all__ = [
    "Block",
    "Changes",
    "Extent",
    "JournalStream",
    "Outline",
    "Plan",
    "Range",
    "Seal",
    "SealedStream",
    "Seals",
    "abreast",
    "cut_ranges",
    "expected_digest",
    "narrowed",
    "plan_blocks",
    "refreshed",
    "still_held",
    "whole_ranges",
]

WINDOW_ROWS = 32_768
"""Rows, of all streams together, that are read before the next of any: some 15 MB."""


class Range(NamedTuple):
    """Consecutive sequences of a stream, both ends included."""

    stream: Stream
    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> "Range":
        """Read ``source/epoch/topic/partition/first-last`` (or one sequence).

        Raises:
            InvalidEvent: it is not of that form.
        """
        place, dash, last = text.rpartition("-")
        is_range = bool(dash) and last.isascii() and last.isdigit()
        try:
            position = Position.parse(place if is_range else text)
        except InvalidEvent as error:
            raise InvalidEvent(
                f"{text!r} is not a range; write source/epoch/topic/partition/first-last"
            ) from error
        found = cls(
            position.stream, position.sequence, int(last) if is_range else position.sequence
        )
        if not 1 <= found.first <= found.last <= MAX_INTEGER:
            raise InvalidEvent(f"{text!r}: sequences count from 1, the first comes first")
        return found


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
    Supabase refused a sequence for good; ``accepted`` what the tap could not see and a person
    accepted as unproven.
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
    accepted: tuple[Interval, ...] = ()


@dataclass(frozen=True, slots=True)
class Outline:
    """The journal at one moment: its streams, and the (source, epoch) pairs it speaks for.

    ``open_ended`` are those among the pairs of which it is an earlier moment (an export's): what
    other stores hold beyond its heads may have been published since, so it is in flight.
    """

    scope: frozenset[tuple[str, int]]
    streams: tuple[JournalStream, ...]
    open_ended: frozenset[tuple[str, int]] = frozenset()


class Changes(NamedTuple):
    """What was changed in a store after it was written, since an earlier mark.

    ``mark`` is to be given next time; ``ranges`` None says that it can not be told, so that
    everything may have changed.
    """

    mark: str
    ranges: tuple[Range, ...] | None


class Seal(NamedTuple):
    """A block that agreed in every store.

    ``last`` is the last sequence compared (the block may have grown since); ``realtime`` how many
    of its events Realtime had delivered live; ``total`` the sum of the journal's hashes;
    ``verified_us`` when.
    """

    last: int
    realtime: int
    total: int
    verified_us: int


@dataclass(frozen=True, slots=True)
class SealedStream:
    """The seals of a stream, in short.

    ``runs`` are the numbers of the blocks that are sealed to their end (disjoint intervals,
    ascending); ``growing`` those sealed up to a sequence within. ``owed`` is what each store was
    expected to hold then; ``realtime`` adds up what Realtime had delivered in all of them.
    """

    runs: tuple[Interval, ...] = ()
    growing: Mapping[int, int] = field(default_factory=dict)
    owed: Mapping[str, tuple[Interval, ...]] = field(default_factory=dict)
    realtime: int = 0


@dataclass(frozen=True, slots=True)
class Seals:
    """All seals: per stream, and the (stream, block) pairs whose turn in the scrub it is."""

    streams: Mapping[Stream, SealedStream] = field(default_factory=dict)
    oldest: tuple[tuple[Stream, int], ...] = ()


class Block(NamedTuple):
    """One block to compare: sequences ``first`` to ``last``, all below the watermark."""

    stream: Stream
    number: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The blocks to compare, and what the sealed rest stands for.

    ``sealed`` are those among ``blocks`` that have a seal all the same (their turn in the scrub, or
    a full run) and in which nothing is known to have changed; ``skipped`` is the number of sealed
    blocks left out. ``dirty`` are the numbers of blocks, per stream, whose seals are void
    because something changed there.
    """

    blocks: tuple[Block, ...]
    sealed: frozenset[Block]
    skipped: int
    dirty: Mapping[Stream, tuple[Interval, ...]]


def narrowed(facts: JournalStream, ranges: Sequence[Range]) -> JournalStream | None:
    """The stream as far as the ranges ask for it, from the first of them to the last.

    None when no range is of this stream, or none touches what it holds.
    """
    mine = [one for one in ranges if one.stream == facts.stream]
    if not mine:
        return None
    floor = max(facts.floor, min(one.first for one in mine))
    head = min(facts.head, max(one.last for one in mine))
    if floor > head:
        return None
    owed = {store: tuple(clip(found, floor, head)) for store, found in facts.owed.items()}
    return replace(facts, floor=floor, head=head, watermark=min(facts.watermark, head), owed=owed)


def refreshed(
    streams: Mapping[Stream, JournalStream], fresh: Mapping[Stream, JournalStream]
) -> dict[Stream, JournalStream]:
    """The same streams with what has moved since, judged up to the same watermarks."""
    return {
        stream: replace(
            facts,
            floor=fresh[stream].floor,
            head=fresh[stream].head,
            next=fresh[stream].next,
            parked=fresh[stream].parked,
        )
        if stream in fresh
        else facts
        for stream, facts in streams.items()
    }


def still_held(blocks: Iterable[Block], streams: Mapping[Stream, JournalStream]) -> list[Block]:
    """The blocks without what the journal has dropped meanwhile."""
    cut = [block._replace(first=max(block.first, streams[block.stream].floor)) for block in blocks]
    return [block for block in cut if block.first <= block.last]


def plan_blocks(
    streams: Iterable[JournalStream],
    seals: Seals,
    size: int,
    *,
    full: bool,
    changed: Iterable[Range] | None = (),
) -> Plan:
    """Choose the blocks to compare: all open ones, and those whose turn in the scrub it is.

    A seal is void where a store changed (``changed``; None: anywhere) or where what a store is owed
    is no longer what it was. ``full`` takes every block. Costs what is chosen, not what is
    sealed. Blocks come stream by stream, ascending.
    """
    touched: dict[Stream, list[Interval]] = {}
    for stream, first, last in changed or ():
        touched.setdefault(stream, []).append((first, last))
    scrub: dict[Stream, list[Interval]] = {}
    for stream, number in seals.oldest:
        scrub.setdefault(stream, []).append((number, number))
    chosen: list[Block] = []
    sealed: set[Block] = set()
    dirty: dict[Stream, tuple[Interval, ...]] = {}
    skipped = 0
    for facts in streams:
        known = seals.streams.get(facts.stream, SealedStream())
        ends = (block_of(facts.floor, size), block_of(max(facts.watermark, facts.floor), size))
        void = _changed_blocks(facts, known, touched.get(facts.stream, ()), size)
        if changed is None:
            void = (ends,)
        if void:
            dirty[facts.stream] = void
        if facts.watermark < facts.floor:
            continue
        growing = [
            (number, number)
            for number, last in known.growing.items()
            if last == min(block_last(number, size), facts.watermark)
        ]
        # A whole block is no longer sealed when the watermark fell into it.
        whole = facts.watermark // size - 1
        runs = coalesce([*clip(known.runs, ends[0], min(ends[1], whole)), *growing], *ends)
        runs = without(runs, void)
        again = coalesce(scrub.get(facts.stream, ()), *ends)
        starts = [low for low, _ in runs]
        taken = (ends,) if full else coalesce([*without((ends,), runs), *again], *ends)
        for low, high in taken:
            for number in range(low, high + 1):
                first = max(block_first(number, size), facts.floor)
                last = min(block_last(number, size), facts.watermark)
                block = Block(facts.stream, number, first, last)
                chosen.append(block)
                at = bisect_right(starts, number) - 1
                if at >= 0 and number <= runs[at][1]:
                    sealed.add(block)
        skipped += sum(high - low + 1 for low, high in without(runs, taken))
    chosen.sort()
    return Plan(tuple(chosen), frozenset(sealed), skipped, dirty)


def _changed_blocks(
    facts: JournalStream, known: SealedStream, touched: Sequence[Interval], size: int
) -> tuple[Interval, ...]:
    """The numbers of the blocks whose seals are void."""
    places = list(touched)
    # What is owed above the watermark of then was not sealed.
    for store, before in known.owed.items():
        now = clip(facts.owed.get(store, ()), facts.floor, facts.watermark)
        places += without(before, now) + without(now, before)
    numbers = [(block_of(max(first, 1), size), block_of(last, size)) for first, last in places]
    return coalesce(numbers, 0, block_of(max(facts.head, facts.held, 1), size))


def abreast(blocks: Sequence[Block], size: int) -> list[Block]:
    """The blocks in an order in which all streams advance together, some rows of each at a time.

    Stores hold rows as they came, all streams mixed: whoever reads stream by stream fetches each
    page of them once for every stream.
    """
    streams = len({block.stream for block in blocks})
    run = max(1, WINDOW_ROWS // (size * max(1, streams)))
    return sorted(blocks, key=lambda block: (block.number // run, block))


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
    # No tuple is made for a block that only continues: a full run has tens of thousands.
    stream: Stream | None = None
    first = last = 0
    for block in blocks:
        if block.first == last + 1 and block.stream == stream:
            last = block.last
            continue
        if stream is not None:
            yield Range(stream, first, last)
        stream, first, last = block.stream, block.first, block.last
    if stream is not None:
        yield Range(stream, first, last)


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
