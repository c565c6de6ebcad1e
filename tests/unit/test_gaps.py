"""Accepting what the tap could not see."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from crossfade.core.gaps import Gap
from crossfade.core.reconciliation import Reconciliation
from crossfade.core.reconciliation_plan import Range
from crossfade.core.verdict import Verdict
from crossfade.errors import UsageError
from crossfade.gaps import acknowledge
from tests.reconciliation_data import SECOND_US, World, found, stream

LOST = stream("critical", 3)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Events 3, 4 and 9 were published while the tap was not connected."""
    with World(tmp_path) as made:
        events = made.fill(LOST, 20)
        made.journal.execute(
            "UPDATE events SET committed_us = committed_us - (99 - sequence) * 1e7"
        )
        made.journal.commit()
        for sequence in (3, 4, 9):
            made.drop("websocket", events[sequence - 1])
            made.uncover(events[sequence - 1])
        yield made


def accept(
    world: World, first: int, last: int, by: str = "Ada", reason: str = "log read"
) -> list[Gap]:
    return acknowledge(
        world.settings(),
        Range(LOST, first, last),
        by=by,
        reason=reason,
        clock=world.clock,
        readers=world.readers(),
    )


def test_an_accepted_gap_no_longer_holds_anything_and_stays_listed(world: World) -> None:
    before = world.reconcile()
    assert (before.verdict, before.stores["websocket"].uncovered) == (Verdict.INCONCLUSIVE, 3)
    gaps = accept(world, 1, 20)
    assert [gap.range for gap in gaps] == [Range(LOST, 3, 4), Range(LOST, 9, 9)]
    after = world.reconcile(full=True)
    assert (after.verdict, after.discrepancy_count) == (Verdict.PASS, 0)
    count = after.stores["websocket"]
    assert (count.expected, count.present, count.accepted) == (20, 17, 3)
    assert after.gaps == tuple(gaps)
    assert gaps[0].to_json() == {
        "range": "app/1/critical/3/3-4",
        "by": "Ada",
        "reason": "log read",
        "at_us": world.clock.us,
    }
    assert Reconciliation.from_json(after.to_json()).gaps == after.gaps
    # Its blocks are sealed: the gap costs nothing from now on, and is still told.
    world.clock.us += SECOND_US
    again = world.reconcile()
    assert (again.checked_events, again.gaps) == (0, tuple(gaps))


def test_only_what_is_uncovered_is_accepted(world: World) -> None:
    accept(world, 1, 4)
    result = world.reconcile()
    assert found(result) == {("uncovered", "websocket", "app/1/critical/3/9")}
    assert result.verdict is Verdict.INCONCLUSIVE
    world.tap.execute("DELETE FROM deliveries WHERE sequence = 12 AND transport = 'websocket'")
    world.tap.commit()
    accept(world, 5, 20)
    assert found(world.reconcile()) == {("missing", "websocket", "app/1/critical/3/12")}


def test_what_the_audit_does_not_take_is_not_accepted(world: World) -> None:
    told: list[Gap] = []

    def refuse(gaps: Sequence[Gap]) -> None:
        told.extend(gaps)
        raise UsageError("no answer")

    with pytest.raises(UsageError, match="no answer"):
        acknowledge(
            world.settings(), Range(LOST, 1, 20), by="Ada", reason="x", tell=refuse,
            clock=world.clock, readers=world.readers(),
        )  # fmt: skip
    assert [gap.range for gap in told] == [Range(LOST, 3, 4), Range(LOST, 9, 9)]
    assert world.reconcile().stores["websocket"].uncovered == 3


@pytest.mark.parametrize(
    ("first", "by", "reason", "text"),
    [
        (5, "Ada", "log read", "nothing in this range is uncovered"),
        (1, " ", "log read", "who decided it"),
        (1, "Ada", "", "and why"),
    ],
)
def test_a_gap_needs_a_person_a_reason_and_a_gap(
    world: World, first: int, by: str, reason: str, text: str
) -> None:
    with pytest.raises(UsageError, match=text):
        accept(world, first, 8, by, reason)
    assert world.reconcile().verdict is Verdict.INCONCLUSIVE


def test_a_recording_that_can_not_be_read_has_no_known_gap(world: World) -> None:
    readers = {name: one for name, one in world.readers().items() if name == "journal"}
    with pytest.raises(UsageError, match="nothing in this range"):
        acknowledge(
            world.settings(), Range(LOST, 1, 9), by="Ada", reason="x", clock=world.clock,
            readers=readers,
        )  # fmt: skip
