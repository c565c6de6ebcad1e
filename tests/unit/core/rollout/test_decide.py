"""A table from phase, verdicts and time to the next action."""

import pytest

from crossfade.core.rollout import Action, Phase, apply, decide, overdue
from crossfade.core.verdict import Verdict
from tests.rollouts import SECOND, evidence_of
from tests.unit.core.rollout.test_apply import approve, at_phase, breached, hold

SOAK_OVER = 6 * SECOND


@pytest.mark.parametrize(
    ("phase", "later_us", "verdicts", "action"),
    [
        (Phase.READY, 0, {}, Action.BEGIN),
        (Phase.PREFLIGHT, 0, {}, Action.PREFLIGHT),
        (Phase.RAMPING, 0, {}, Action.APPLY),
        (Phase.RAMPING, 0, {"applied": Verdict.FAIL}, Action.WAIT),
        (Phase.RAMPING, 0, {"applied": Verdict.INCONCLUSIVE}, Action.WAIT),
        (Phase.SOAKING, 0, {}, Action.WAIT),
        (Phase.SOAKING, SOAK_OVER - 1, {}, Action.WAIT),
        (Phase.SOAKING, SOAK_OVER, {}, Action.SOAKED),
        (Phase.SOAKING, SOAK_OVER, {"events": Verdict.INCONCLUSIVE}, Action.WAIT),
        (Phase.SOAKING, SOAK_OVER, {"events": Verdict.ERROR}, Action.WAIT),
        # What only the gate's reconciliation can tell does not keep the soak waiting for it,
        (Phase.SOAKING, SOAK_OVER, {"reconciliation": Verdict.INCONCLUSIVE}, Action.SOAKED),
        # and a FAIL goes to the gate, which holds the stage with the whole evidence.
        (Phase.SOAKING, SOAK_OVER, {"events": Verdict.FAIL}, Action.SOAKED),
        (Phase.RECONCILING, 0, {}, Action.RECONCILE),
        (Phase.AWAITING_APPROVAL, 0, {}, Action.ASK_APPROVAL),
    ],
)
def test_what_is_next(
    phase: Phase, later_us: int, verdicts: dict[str, Verdict], action: Action
) -> None:
    state = at_phase(phase)
    now_us = state.since_us + later_us
    found = decide(state, evidence_of(state, now_us, **verdicts), now_us)
    assert found.action is action
    assert found.reason


def test_waiting_says_for_how_long() -> None:
    state = at_phase(Phase.SOAKING)
    found = decide(state, evidence_of(state, 0), state.since_us + 5 * SECOND)
    assert found.wait_s == pytest.approx(1.0)
    assert "another 1 s" in found.reason


def test_too_few_events_are_named() -> None:
    state = at_phase(Phase.SOAKING)
    evidence = evidence_of(state, 0, events=Verdict.INCONCLUSIVE)
    found = decide(state, evidence, state.since_us + SOAK_OVER)
    assert "not enough evidence: events" in found.reason


def test_another_week_s_flow_is_told_so() -> None:
    state = at_phase(Phase.SOAKING, stage=1)
    evidence = evidence_of(state, 0)
    assert decide(state, evidence, 0, stage=0).action is Action.FINISHED
    later = decide(state, evidence, 0, stage=2)
    assert (later.action, later.reason) == (Action.STOPPED, "it is week-2's turn")
    old = decide(state, evidence, 0, stage=1, attempt=7)
    assert (old.action, old.reason) == (Action.STOPPED, "attempt 7 is over; this is attempt 1")


def test_stopped_says_why() -> None:
    state = at_phase(Phase.SOAKING)
    for command, why in ((breached(state), "breaker open"), (hold(state), "look first")):
        stopped, _ = apply(state, command, 9)
        found = decide(stopped, evidence_of(stopped, 0), 10)
        assert found.action is Action.STOPPED
        assert why in found.reason


def test_the_last_week_is_finished_when_completed() -> None:
    state = at_phase(Phase.AWAITING_APPROVAL, stage=2)
    state, _ = apply(state, approve(state), state.since_us)
    assert decide(state, evidence_of(state, 0), 0, stage=2).action is Action.FINISHED


@pytest.mark.parametrize(
    ("phase", "after_us", "why"),
    [
        (Phase.READY, 10_000 * SECOND, None),
        (Phase.PREFLIGHT, 10_000 * SECOND, None),
        (Phase.RAMPING, 30 * SECOND - 1, None),
        (Phase.RAMPING, 30 * SECOND, "not every instance"),
        (Phase.SOAKING, 36 * SECOND - 1, None),
        (Phase.SOAKING, 36 * SECOND, "no conclusive evidence"),
        (Phase.RECONCILING, 30 * SECOND, "no conclusion"),
        (Phase.AWAITING_APPROVAL, 60 * SECOND - 1, None),
        (Phase.AWAITING_APPROVAL, 60 * SECOND, "nobody approved"),
    ],
)
def test_what_takes_too_long_is_held(phase: Phase, after_us: int, why: str | None) -> None:
    state = at_phase(phase)
    found = overdue(state, state.since_us + after_us)
    assert found is None if why is None else why in (found or "")
