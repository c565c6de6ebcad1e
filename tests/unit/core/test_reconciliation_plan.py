"""What each store is owed, and which blocks a run compares."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.core.digest import BlockDigest, block_of, digest_of
from crossfade.core.event import Stream
from crossfade.core.intervals import Interval, clip, coalesce, contains
from crossfade.core.reconciliation_plan import (
    Block,
    JournalStream,
    Plan,
    Range,
    SealedStream,
    Seals,
    abreast,
    cut_ranges,
    expected_digest,
    plan_blocks,
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
    plan = plan_blocks([one], Seals(), size, full=False)
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
    for block in plan_blocks([one], Seals(), 16, full=False).blocks:
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


def sealed(
    *runs: Interval,
    growing: dict[int, int] | None = None,
    websocket: tuple[Interval, ...] = ((1, 35),),
    supabase: tuple[Interval, ...] = (),
) -> SealedStream:
    return SealedStream(runs, growing or {}, {"websocket": websocket, "supabase": supabase})


def numbers(plan: Plan) -> list[int]:
    return [block.number for block in plan.blocks]


def test_sealed_blocks_are_left_out_until_something_can_have_changed() -> None:
    one = facts(head=40, watermark=37)
    seals = Seals({ONE: sealed((0, 2), growing={3: 35})})
    plan = plan_blocks([one], seals, 10, full=False)
    assert plan.blocks == (Block(ONE, 3, 31, 37),)  # grown since
    assert (plan.skipped, plan.sealed) == (3, frozenset())
    plan = plan_blocks([facts(head=40, watermark=35)], seals, 10, full=False)
    assert (plan.blocks, plan.skipped, plan.dirty) == ((), 4, {})
    routed = facts(head=40, watermark=35, supabase=((15, 40),))
    plan = plan_blocks([routed], seals, 10, full=False)
    assert numbers(plan) == [1, 2, 3]  # expected otherwise now
    assert plan.dirty == {ONE: ((1, 3),)}
    late_tap = replace(one, owed={"websocket": ((5, 40),), "supabase": ()})
    assert numbers(plan_blocks([late_tap], seals, 10, full=False)) == [0, 3]  # so is this
    plan = plan_blocks([one], seals, 10, full=True)
    assert numbers(plan) == [0, 1, 2, 3]
    assert {block.number for block in plan.sealed} == {0, 1, 2}


def test_what_a_store_changed_is_compared_again() -> None:
    streams = [facts(head=40, watermark=35), facts(TWO, head=35)]
    seals = Seals({ONE: sealed((0, 2), growing={3: 35}), TWO: sealed((0, 2), growing={3: 35})})
    changed = [Range(ONE, 12, 12), Range(ONE, 33, 400)]
    plan = plan_blocks(streams, seals, 10, full=False, changed=changed)
    assert [(block.stream, block.number) for block in plan.blocks] == [(ONE, 1), (ONE, 3)]
    assert plan.dirty == {ONE: ((1, 1), (3, 3))}
    assert plan.skipped == 6
    plan = plan_blocks(streams, seals, 10, full=False, changed=None)
    assert numbers(plan) == [0, 1, 2, 3] * 2
    assert (plan.skipped, plan.sealed) == (0, frozenset())


def test_a_hole_among_the_seals_is_open() -> None:
    seals = Seals({ONE: sealed((0, 0), (2, 2), growing={3: 35})})
    assert numbers(plan_blocks([facts(watermark=35)], seals, 10, full=False)) == [1]


def test_a_lower_watermark_opens_a_block_again() -> None:
    """Say, after the grace was raised: the seal says more than can be judged now."""
    seals = Seals({ONE: sealed((0, 0), websocket=((1, 10),))})
    plan = plan_blocks([facts(watermark=8)], seals, 10, full=False)
    assert plan.blocks == (Block(ONE, 0, 1, 8),)


def test_a_block_that_lost_its_beginning_is_compared_again() -> None:
    """Retention raised the floor: the seal's sum is of more than what is left."""
    seals = Seals({ONE: sealed((0, 3), websocket=((1, 40),))})
    plan = plan_blocks([facts(floor=15)], seals, 10, full=False)
    assert plan.blocks == (Block(ONE, 1, 15, 20),)
    assert plan.dirty == {ONE: ((0, 1),)}


def test_the_scrub_takes_those_whose_turn_it_is() -> None:
    seals = Seals(
        {ONE: sealed((0, 3), websocket=((1, 40),)), TWO: sealed((0, 0), websocket=((1, 10),))},
        ((ONE, 1), (ONE, 3), (TWO, 0), (TWO, 7)),
    )
    plan = plan_blocks([facts(ONE), facts(TWO, head=10)], seals, 10, full=False)
    assert [(block.stream, block.number) for block in plan.blocks] == [(ONE, 1), (ONE, 3), (TWO, 0)]
    assert plan.skipped == 2
    assert plan.sealed == frozenset(plan.blocks)


def test_streams_are_not_joined_to_one_range() -> None:
    blocks = [
        Block(ONE, 0, 1, 10),
        Block(ONE, 1, 11, 20),
        Block(TWO, 2, 21, 30),
        Block(TWO, 4, 41, 45),
    ]
    assert list(whole_ranges(blocks)) == [Range(ONE, 1, 20), Range(TWO, 21, 30), Range(TWO, 41, 45)]


@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    size=st.integers(1, 5),
    window=st.integers(1, 40),
)
def test_streams_advance_together(lengths: list[int], size: int, window: int) -> None:
    blocks = [
        Block(ONE._replace(partition=partition), number, number * size + 1, number * size + size)
        for partition, length in enumerate(lengths)
        for number in range(length)
    ]
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("crossfade.core.reconciliation_plan.WINDOW_ROWS", window)
        found = abreast(blocks, size)
    assert sorted(found) == blocks
    run = max(1, window // (size * max(1, sum(length > 0 for length in lengths))))
    steps = [block.number // run for block in found]
    assert steps == sorted(steps)
    for partition in range(len(lengths)):
        numbers = [block.number for block in found if block.stream.partition == partition]
        assert numbers == sorted(numbers)
