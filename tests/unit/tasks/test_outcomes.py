"""How runs end."""

from typing import Any

import pytest

from crossfade.backfill import Backfill
from crossfade.core.rollout.decide import Action
from tasks import outcomes
from tasks.control_plane import Step


def step(phase: str) -> Step:
    return Step(Action.STOPPED, "because", 0.0, {"phase": phase}, {})


@pytest.mark.parametrize(
    ("phase", "state"),
    [
        ("rolling_back", "CANCELLED"),
        ("rolled_back", "CANCELLED"),
        ("held", "FAILED"),
        ("ready", "FAILED"),
    ],
)
def test_stopped(phase: str, state: str) -> None:
    found = outcomes.stopped(step(phase))
    assert (found.type.value, found.message) == (state, "because")


@pytest.mark.parametrize(
    ("verdict", "state"),
    [
        ("pass", "COMPLETED"),
        ("inconclusive", "COMPLETED"),
        ("error", "COMPLETED"),
        ("fail", "FAILED"),
    ],
)
def test_verdicts(verdict: str, state: str) -> None:
    result: dict[str, Any] = {
        "verdict": verdict,
        "checked_events": 1_200,
        "discrepancy_count": 3,
    }
    found = outcomes.validated(result, "")
    assert found.type.value == state
    assert found.message == f"{verdict}: 1,200 events checked, 3 discrepancies"
    assert "fox goes on in place" in str(outcomes.validated(result, "fox").message)
    figures = {"arrived_after_ms": 1_250.0, "reconciliation_verdict": verdict}
    back = outcomes.rolled_back(figures)
    assert back.type.value == state
    assert "after 1.2 s" in str(back.message)
    done = Backfill(at_us=1, duration_ms=2.0, dry_run=False, everything=False, inserted=4)
    copied = outcomes.backfilled(done.to_json(), result)
    assert (copied.type.value, copied.message) == (state, f"4 events copied; afterwards: {verdict}")


@pytest.mark.parametrize("wrong", [{"left": 1}, {"parked_count": 1}])
def test_a_backfill_that_leaves_something_failed(wrong: dict[str, int]) -> None:
    done = Backfill(at_us=1, duration_ms=2.0, dry_run=False, everything=False, **wrong)
    assert outcomes.backfilled(done.to_json(), {"verdict": "pass"}).is_failed()


def test_finished_and_reported() -> None:
    assert outcomes.finished(step("ready")).is_completed()
    assert outcomes.reported("# Title\n\nmore").message == "Title"
