"""Runs of sealed blocks: one digest for many."""

from hypothesis import given
from hypothesis import strategies as st

from crossfade.core.digest import BlockDigest, block_first, block_last, merge
from crossfade.core.event import Stream
from crossfade.core.intervals import Interval
from crossfade.core.reconciliation_plan import Block, JournalStream, Seal
from crossfade.core.reconciliation_runs import RUN_BLOCKS, run_of, sealed_runs

SIZE = 8
ONE, OTHER = Stream("app", 1, "critical", 0), Stream("app", 1, "critical", 1)


def block(number: int, stream: Stream = ONE) -> Block:
    return Block(stream, number, block_first(number, SIZE), block_last(number, SIZE))


def facts(stream: Stream, owed: tuple[Interval, ...]) -> JournalStream:
    head = 10**6
    return JournalStream(
        stream=stream, category="critical", floor=1, head=head, held=head, watermark=head,
        owed={"supabase": owed, "websocket": ((1, head),)},
    )  # fmt: skip


def seal(of: Block, total: int, realtime: int = 0) -> Seal:
    return Seal(of.last, realtime, total, 0)


def test_a_run_adds_up_what_the_seals_say() -> None:
    last = RUN_BLOCKS - 1
    sealed = {
        block(last): seal(block(last), 2**64 - 1, 3),
        block(0): seal(block(0), 5, 4),  # the blocks between are not sealed
        block(RUN_BLOCKS): seal(block(RUN_BLOCKS), 7),
        block(0, OTHER): seal(block(0, OTHER), 9),
    }
    whole = ((1, 10**6),)
    found = sealed_runs(sealed, {ONE: facts(ONE, whole), OTHER: facts(OTHER, whole)})
    assert [(run.stream, run.number, run.realtime) for run in found] == [
        (ONE, 0, 7), (ONE, 1, 0), (OTHER, 0, 0),
    ]  # fmt: skip
    first = found[0]
    assert first.blocks == (block(0), block(last))
    assert first.held == first.owed == BlockDigest(0, 16, 1, block(last).last, 4)
    assert first.block == (ONE, 0, 1, block(last).last)


def test_the_table_owes_what_is_routed_to_it() -> None:
    """Routing began with the second block; the run has one that must be there and one not."""
    sealed = {block(number): seal(block(number), 10 + number) for number in (0, 1)}
    (run,) = sealed_runs(sealed, {ONE: facts(ONE, ((9, 10**6),))})
    assert run.held == BlockDigest(0, 16, 1, 16, 21)
    assert run.owed == BlockDigest(0, 8, 9, 16, 11)
    (run,) = sealed_runs(sealed, {ONE: facts(ONE, ())})
    assert run.owed == BlockDigest(0)


@given(
    totals=st.dictionaries(
        st.integers(0, RUN_BLOCKS * 3), st.integers(0, 2**64 - 1), min_size=1, max_size=40
    )
)
def test_runs_say_what_their_blocks_say_together(totals: dict[int, int]) -> None:
    sealed = {block(number): seal(block(number), total) for number, total in totals.items()}
    runs = sealed_runs(sealed, {ONE: facts(ONE, ((1, 10**6),))})
    assert [one for run in runs for one in run.blocks] == sorted(sealed)
    for run in runs:
        expected = BlockDigest(run.number)
        for one in run.blocks:
            assert run_of(one.number) == run.number
            expected = merge(
                expected, BlockDigest(0, SIZE, one.first, one.last, totals[one.number])
            )
        assert run.held == run.owed == expected
