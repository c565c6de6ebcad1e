"""What each store is owed, and which blocks a run compares."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from crossfade.core.digest import BlockDigest, block_of, digest_of
from crossfade.core.event import Stream
from crossfade.core.reconciliation_plan import (
    Block,
    Interval,
    JournalStream,
    Range,
    Seal,
    clip,
    coalesce,
    contains,
    cut_ranges,
    expected_digest,
    plan_blocks,
    size_of,
    whole_ranges,
)

ONE = Stream("app", 1, "critical", 3)
TWO = Stream("app", 1, "critical", 4)
INTERVALS = st.lists(
    st.tuples(st.integers(1, 60), st.one_of(st.none(), st.integers(1, 60))), max_size=6
)


def facts(
    stream: Stream = ONE,
    *,
    floor: int = 1,
    head: int = 40,
    watermark: int | None = None,
    supabase: tuple[Interval, ...] = (),
) -> JournalStream:
    return JournalStream(
        stream=stream,
        category="critical",
        floor=floor,
        head=head,
        held=head,
        watermark=head if watermark is None else watermark,
        owed={"websocket": ((floor, head),), "supabase": supabase},
    )


def members(intervals: object, head: int) -> set[int]:
    return {
        sequence
        for first, last in intervals  # type: ignore[attr-defined]
        for sequence in range(first, (head if last is None else last) + 1)
    }


@given(raw=INTERVALS, floor=st.integers(1, 20), head=st.integers(0, 50))
def test_coalesced_intervals_hold_the_same_sequences(
    raw: list[tuple[int, int | None]], floor: int, head: int
) -> None:
    found = coalesce(raw, floor, head)
    wanted = {one for one in members(raw, head) if floor <= one <= head}
    assert members(found, head) == wanted
    assert list(found) == sorted(found)
    for (_, before), (after, _) in pairwise(found):
        assert before + 1 < after  # neither touching nor overlapping
    for sequence in range(1, 60):
        assert contains(found, sequence) == (sequence in wanted)


@given(raw=INTERVALS, first=st.integers(1, 60), last=st.integers(1, 60))
def test_clipping_and_counting(raw: list[tuple[int, int | None]], first: int, last: int) -> None:
    intervals = coalesce(raw, 1, 50)
    inside = {one for one in members(intervals, 50) if first <= one <= last}
    assert members(clip(intervals, first, last), 50) == inside
    assert size_of(intervals, first, last) == len(inside)


@given(
    floor=st.integers(1, 30),
    watermark=st.integers(0, 60),
    size=st.integers(1, 20),
    raw=INTERVALS,
)
def test_blocks_cover_floor_to_watermark_once(
    floor: int, watermark: int, size: int, raw: list[tuple[int, int | None]]
) -> None:
    one = facts(floor=floor, head=60, watermark=watermark, supabase=coalesce(raw, floor, 60))
    plan = plan_blocks([one], {}, size, full=False, scrub=0)
    covered = [s for block in plan.blocks for s in range(block.first, block.last + 1)]
    assert covered == list(range(floor, watermark + 1))
    for block in plan.blocks:
        assert {block_of(block.first, size), block_of(block.last, size)} == {block.number}
    # The journal is asked for the same, cut where Supabase's part begins or ends.
    ranges = list(cut_ranges(plan.blocks, {ONE: one}))
    assert [s for r in ranges for s in range(r.first, r.last + 1)] == covered
    for asked in ranges:
        owed = {contains(one.owed["supabase"], s) for s in range(asked.first, asked.last + 1)}
        assert len(owed) == 1
    # Anybody else is asked for as few ranges as hold it.
    whole = list(whole_ranges(plan.blocks))
    assert whole == ([Range(ONE, floor, watermark)] if covered else [])


@given(raw=INTERVALS, hashes=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=40, max_size=40))
def test_the_expected_digest_is_that_of_what_is_owed(
    raw: list[tuple[int, int | None]], hashes: list[int]
) -> None:
    supabase = coalesce(raw, 1, 40)
    one = facts(supabase=supabase)
    rows = dict(enumerate(hashes, start=1))
    for block in plan_blocks([one], {}, 16, full=False, scrub=0).blocks:
        parts = [
            digest_of(block.number, ((s, rows[s]) for s in range(asked.first, asked.last + 1)))
            for asked in cut_ranges([block], {ONE: one})
        ]
        owed = ((s, rows[s]) for low, high in clip(supabase, block.first, block.last)
                for s in range(low, high + 1))  # fmt: skip
        assert expected_digest(block, parts, supabase) == digest_of(block.number, owed)


def test_a_journals_stale_rows_do_not_excuse_the_other_stores() -> None:
    part = BlockDigest(0, 3, 1, 3, 9, stale=1)
    found = expected_digest(Block(ONE, 0, 1, 3), [part], ((1, 3),))
    assert found == BlockDigest(0, 3, 1, 3, 9)


def seal(
    last: int, at_us: int = 0, websocket: int = 10, supabase: int = 0, realtime: int = 0
) -> Seal:
    return Seal(last, websocket, supabase, realtime, 0, at_us)


def test_sealed_blocks_are_left_out_until_something_can_have_changed() -> None:
    one = facts(head=40, watermark=37)
    sealed = {ONE: {0: seal(10), 1: seal(20, realtime=4), 2: seal(30), 3: seal(35, websocket=5)}}
    plan = plan_blocks([one], sealed, 10, full=False, scrub=0)
    assert plan.blocks == (Block(ONE, 3, 31, 37),)  # grown since
    assert (plan.skipped, plan.skipped_realtime) == (3, 4)
    routed = facts(head=40, watermark=35, supabase=((15, 40),))
    plan = plan_blocks([routed], sealed, 10, full=False, scrub=0)
    assert [block.number for block in plan.blocks] == [1, 2, 3]  # expected otherwise now
    late_tap = replace(one, owed={"websocket": ((5, 40),), "supabase": ()})
    plan = plan_blocks([late_tap], sealed, 10, full=False, scrub=0)
    assert [block.number for block in plan.blocks] == [0, 3]  # so is this
    plan = plan_blocks([one], sealed, 10, full=True, scrub=0)
    assert [block.number for block in plan.blocks] == [0, 1, 2, 3]


def test_a_lower_watermark_opens_a_block_again() -> None:
    """Say, after the grace was raised: the seal says more than can be judged now."""
    plan = plan_blocks([facts(watermark=8)], {ONE: {0: seal(10)}}, 10, full=False, scrub=0)
    assert plan.blocks == (Block(ONE, 0, 1, 8),)


def test_the_scrub_takes_what_was_verified_longest_ago() -> None:
    sealed = {
        ONE: {0: seal(10, 50), 1: seal(20, 10), 2: seal(30, 40), 3: seal(40, 20)},
        TWO: {0: seal(10, 30)},
    }
    streams = [facts(ONE), facts(TWO, head=10)]
    plan = plan_blocks(streams, sealed, 10, full=False, scrub=3)
    assert [(block.stream, block.number) for block in plan.blocks] == [(ONE, 1), (ONE, 3), (TWO, 0)]
    assert plan.skipped == 2


def test_streams_are_not_joined_to_one_range() -> None:
    blocks = [
        Block(ONE, 0, 1, 10),
        Block(ONE, 1, 11, 20),
        Block(TWO, 2, 21, 30),
        Block(TWO, 4, 41, 45),
    ]
    assert list(whole_ranges(blocks)) == [Range(ONE, 1, 20), Range(TWO, 21, 30), Range(TWO, 41, 45)]
