"""Whether what the stores hold of a block is what they must hold."""

import pytest

from crossfade.core.agreement import agreement
from crossfade.core.digest import BlockDigest
from crossfade.core.event import Stream
from crossfade.core.intervals import Interval
from crossfade.core.reconciliation_plan import Block, JournalStream

ONE = Stream("app", 1, "critical", 0)
BLOCK = Block(ONE, 0, 1, 8)
WHOLE = BlockDigest(0, 8, 1, 8, 80)
FIRST, SECOND = BlockDigest(0, 4, 1, 4, 30), BlockDigest(0, 4, 5, 8, 50)
NAMES = ("journal", "websocket", "realtime", "supabase")


def facts(supabase: tuple[Interval, ...]) -> JournalStream:
    return JournalStream(
        stream=ONE, category="critical", floor=1, head=8, held=8, watermark=8,
        owed={"websocket": ((1, 8),), "supabase": supabase},
    )  # fmt: skip


def agrees(owed: tuple[Interval, ...] = ((1, 8),), /, **held: list[BlockDigest]) -> bool:
    whole, agree = agreement(
        BLOCK,
        facts(owed),
        {"journal": [FIRST, SECOND], "websocket": [WHOLE], "supabase": [WHOLE]} | held,
        NAMES,
    )
    assert set(whole) == set(NAMES)
    return agree


def test_what_all_hold_agrees_whatever_its_parts() -> None:
    assert agrees()
    assert agrees(websocket=[SECOND, FIRST])


def test_what_realtime_delivered_is_never_judged() -> None:
    assert agrees(realtime=[BlockDigest(0, 1, 3, 3, 7, 1, 1, 1)])


@pytest.mark.parametrize("store", ["journal", "websocket", "supabase"])
@pytest.mark.parametrize(
    "wrong",
    [
        [],
        [FIRST],
        [WHOLE._replace(total=81)],
        [WHOLE._replace(stale=1)],
        [WHOLE._replace(repeated=1)],
        [WHOLE._replace(disordered=1)],
    ],
)
def test_a_store_that_lacks_or_alters_something_does_not(
    store: str, wrong: list[BlockDigest]
) -> None:
    assert not agrees(**{store: wrong})


def test_the_table_may_hold_what_it_is_owed_or_all() -> None:
    assert agrees(((5, 8),), supabase=[SECOND])
    assert agrees(((5, 8),), supabase=[WHOLE])
    assert not agrees(((5, 8),), supabase=[FIRST])
    assert not agrees(((5, 8),), supabase=[])
    assert agrees((), supabase=[])


def test_a_store_that_was_not_asked_is_not_judged() -> None:
    whole, agree = agreement(BLOCK, facts(((1, 8),)), {"journal": [WHOLE]}, ["journal"])
    assert agree
    assert whole == {"journal": WHOLE}
