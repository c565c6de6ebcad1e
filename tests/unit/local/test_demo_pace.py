"""Traffic where a week needs evidence, something left for every later one."""

import pytest

from crossfade.local.demo_pace import pace


def rollout(stage: int, phase: str, attempt: int = 1) -> dict[str, object]:
    stages = [{"name": f"week-{number}"} for number in (1, 2, 3)]
    return {"stage": stage, "phase": phase, "attempt": attempt, "stages": stages}


@pytest.mark.parametrize(
    "phase", ["ramping", "soaking", "reconciling", "rolling_back", "rolled_back"]
)
def test_full_pace_while_evidence_is_collected_and_through_the_outage(phase: str) -> None:
    assert pace(120, rollout(0, phase), 0.1) == 120


@pytest.mark.parametrize("phase", ["ready", "preflight", "awaiting_approval"])
def test_a_trickle_while_nobody_looks(phase: str) -> None:
    assert 0 < pace(120, rollout(0, phase), 0.1) < 20
    assert 0 < pace(120, None, 0.0) < 20


def test_every_later_attempt_finds_events_left() -> None:
    used = 0.0
    for stage, attempt in ((0, 1), (1, 1), (1, 2), (2, 1)):
        assert pace(120, rollout(stage, "soaking", attempt), used) == 120
        while pace(120, rollout(stage, "soaking", attempt), used) == 120:
            used += 0.01
        # Over its budget a week still gets some, so that it can come to an end.
        assert 0 < pace(120, rollout(stage, "soaking", attempt), used) < 60
    assert used < 0.95


def test_a_person_may_take_an_hour() -> None:
    rate = pace(120, rollout(0, "awaiting_approval"), 0.25)
    assert 0 < rate * 3_600 < 500
