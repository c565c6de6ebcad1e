"""The table held against what seals vouch for."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import pytest

from crossfade.core.digest import BlockDigest, block_first, block_last, digest_of
from crossfade.core.event import Stream
from crossfade.core.reconciliation_plan import Block, Extent, JournalStream, Range, Seal
from crossfade.errors import StoreError
from crossfade.vouching import Vouching
from tests.reconciliation_data import MemorySupabase, make_event, stream

HERE, AWAY = stream("critical", 3), stream("performance", 1)
SIZE, BLOCKS = 8, 3
_Result = TypeVar("_Result")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.fixture
def table() -> MemorySupabase:
    made = MemorySupabase()
    for sequence in range(1, SIZE * BLOCKS + 1):
        made.put(make_event(HERE, sequence))
    return made


class Errors(list[str]):
    """What failed; settles as a comparison does."""

    def settle(self, name: str, answer: "Future[_Result]") -> _Result | None:
        try:
            return answer.result()
        except StoreError:
            self.append(name)
            return None


def sealed(where: Stream) -> dict[Block, Seal]:
    found = {}
    for number in range(BLOCKS):
        block = Block(where, number, block_first(number, SIZE), block_last(number, SIZE))
        pairs = [(s, make_event(where, s).hash) for s in range(block.first, block.last + 1)]
        found[block] = Seal(block.last, 2, digest_of(number, pairs).total, 0)
    return found


def facts(where: Stream) -> JournalStream:
    head = SIZE * BLOCKS
    whole = ((1, head),)
    return JournalStream(
        stream=where, category=where.topic, floor=1, head=head, held=head, watermark=head,
        owed={"websocket": whole, "supabase": whole if where == HERE else ()},
    )  # fmt: skip


def vouching(table: MemorySupabase, pool: ThreadPoolExecutor, errors: Errors) -> Vouching:
    streams = {one: facts(one) for one in (HERE, AWAY)}
    vouched = sealed(HERE) | sealed(AWAY)
    extents = [Extent(HERE, 1, SIZE * BLOCKS)]
    return Vouching(table, pool, errors.settle, extents, vouched, streams, SIZE)


def test_runs_are_asked_for_in_one_piece_of_what_the_table_holds(
    table: MemorySupabase, pool: ThreadPoolExecutor
) -> None:
    found = list(vouching(table, pool, Errors()).answered())
    assert table.asked == [Range(HERE, 1, 24)]
    assert [(run.stream, len(run.blocks), agrees) for run, _, agrees in found] == [
        (HERE, 3, True), (AWAY, 3, True),
    ]  # fmt: skip
    here, away = (digests for _, digests, _ in found)
    assert here["supabase"] == here["journal"] == here["websocket"]
    assert here["journal"].events == away["websocket"].events == 24
    assert here["realtime"] == BlockDigest(0, 6)
    assert away["supabase"] == BlockDigest(0)


def test_a_run_differs_when_one_of_its_rows_does(
    table: MemorySupabase, pool: ThreadPoolExecutor
) -> None:
    table.put(make_event(HERE, 9, data="{}"))
    assert [agrees for _, _, agrees in vouching(table, pool, Errors()).answered()] == [False, True]


def test_a_table_that_can_not_be_read_is_left_out(
    table: MemorySupabase, pool: ThreadPoolExecutor
) -> None:
    table.broken = "digests"
    errors = Errors()
    found = list(vouching(table, pool, errors).answered())
    assert errors == ["supabase"]
    assert all(agrees and "supabase" not in digests for _, digests, agrees in found)
