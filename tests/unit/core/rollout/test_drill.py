"""The drill: back and forward on purpose, timed, and asked for by the next stage."""

from dataclasses import replace
from typing import Any

import pytest

from crossfade.core.rollout import Action, Phase, Rollout, apply, decide, flags_of, overdue
from crossfade.core.rollout import commands as c
from crossfade.core.verdict import Verdict
from crossfade.errors import Refused
from tests.rollouts import SECOND, evidence_of
from tests.unit.core.rollout.test_apply import address, at_phase, begin, breached, hold, soaked


def drill(state: Rollout, **changes: Any) -> c.Command:
    return c.DrillStart(**{**address(state), "actor": "cli:ada", **changes})


def arrived(state: Rollout, **verdicts: Verdict) -> c.Command:
    return c.DrillArrived(**address(state), evidence=evidence_of(state, 0, **verdicts))


def served(state: Rollout, topic: str = "orders") -> float:
    return flags_of(state, 1).served_percent(topic)


def drilled(state: Rollout, now_us: int, back_s: float = 2.0, forward_s: float = 3.0) -> Rollout:
    state, _ = apply(state, drill(state), now_us)
    now_us += round(back_s * SECOND)
    state, _ = apply(state, arrived(state), now_us)
    now_us += round(forward_s * SECOND)
    return apply(state, arrived(state), now_us)[0]


def asking(state: Rollout, **changes: float) -> Rollout:
    return replace(state, plan=replace(state.plan, drill_fresh_s=100.0, **changes))


@pytest.mark.parametrize("phase", [Phase.READY, Phase.SOAKING])
def test_a_small_cohort_goes_back_and_forward_and_nothing_else_changes(phase: Phase) -> None:
    before = at_phase(phase, stage=1)
    now_us = before.since_us
    full = served(before)
    down, facts = apply(before, drill(before, points=3.0), now_us)
    assert (down.phase, served(down)) == (Phase.DRILLING, full - 3)
    assert down.written == before.written, "the table stays complete"
    assert "flags" in [fact.kind for fact in facts]
    up, facts = apply(down, arrived(down), now_us + 2 * SECOND)
    assert (up.phase, served(up)) == (Phase.DRILLING, full)
    assert "flags" in [fact.kind for fact in facts]
    after, facts = apply(up, arrived(up), now_us + 5 * SECOND)
    assert [fact.kind for fact in facts] == ["phase", "drilled"]
    record = after.last_drill
    assert record is not None
    assert (record.back_ms, record.forward_ms, record.passed) == (2_000.0, 3_000.0, True)
    soak_us = 0 if before.deadline_us is None else 5 * SECOND
    deadline_us = None if before.deadline_us is None else before.deadline_us + soak_us
    assert after == replace(
        before,
        version=after.version,
        actor=after.actor,
        since_us=now_us + 5 * SECOND,
        deadline_us=deadline_us,
        last_drill=record,
    )


def test_it_waits_for_every_live_instance_both_times() -> None:
    state = at_phase(Phase.SOAKING)
    state, _ = apply(state, drill(state), 0)
    for _ in range(2):
        with pytest.raises(Refused, match="not every live instance"):
            apply(state, arrived(state, applied=Verdict.INCONCLUSIVE), 1)
        state, _ = apply(state, arrived(state), 1)
    assert state.phase is Phase.SOAKING


def test_a_scope_drills_only_its_category() -> None:
    state = at_phase(Phase.SOAKING)
    down, _ = apply(state, drill(state, scope=("critical",)), 0)
    assert (served(down), served(down, "performance")) == (5.0, 10.0)


@pytest.mark.parametrize("phase", [Phase.PREFLIGHT, Phase.RAMPING, Phase.AWAITING_APPROVAL])
def test_it_does_not_disturb_a_step_under_way(phase: Phase) -> None:
    state = at_phase(phase)
    with pytest.raises(Refused, match=phase.value):
        apply(state, drill(state), 0)


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"points": 0.0}, "points"), ({"points": 101.0}, "points"), ({"scope": ("x",)}, "category")],
)
def test_a_drill_that_makes_no_sense_is_refused(changes: dict[str, Any], why: str) -> None:
    state = at_phase(Phase.SOAKING)
    with pytest.raises(Refused, match=why):
        apply(state, drill(state, **changes), 0)


def test_nobody_served_is_nobody_to_drill() -> None:
    state = at_phase(Phase.READY)
    with pytest.raises(Refused, match="nobody"):
        apply(state, drill(state), 0)


def test_the_week_waits_meanwhile_and_goes_on_where_it_was() -> None:
    state = at_phase(Phase.SOAKING)
    down, _ = apply(state, drill(state), 0)
    assert decide(down, evidence_of(down, 0), 10**9).action is Action.WAIT
    with pytest.raises(Refused):
        apply(down, soaked(down), 10**9)


def test_a_breach_in_a_drill_takes_everybody_back() -> None:
    state = at_phase(Phase.SOAKING)
    down, _ = apply(state, drill(state), 0)
    back, _ = apply(down, breached(down), 1)
    assert (back.phase, served(back), back.drill) == (Phase.ROLLING_BACK, 0.0, None)
    with pytest.raises(Refused):
        apply(back, arrived(back), 2)


def test_a_drill_that_does_not_arrive_is_held_with_traffic_as_it_is() -> None:
    state = at_phase(Phase.SOAKING)
    down, _ = apply(state, drill(state), 0)
    assert overdue(down, 30 * SECOND - 1) is None
    assert "drill" in (overdue(down, 30 * SECOND) or "")
    held, _ = apply(down, hold(down), 30 * SECOND)
    assert (held.phase, served(held), held.drill) == (Phase.HELD, served(down), None)


def test_the_next_stage_waits_for_a_fresh_drill_that_passed() -> None:
    state = asking(at_phase(Phase.READY, stage=1))
    now_us = state.since_us
    with pytest.raises(Refused, match="no rollback drill"):
        apply(state, begin(state), now_us)
    found = decide(state, evidence_of(state, now_us), now_us)
    assert (found.action, "crossfade drill" in found.reason) == (Action.WAIT, True)
    slow = drilled(asking(state, drill_recovery_s=1.0), now_us)
    assert slow.last_drill is not None
    assert not slow.last_drill.passed
    with pytest.raises(Refused, match=r"took 2\.0 s"):
        apply(slow, begin(slow), slow.since_us)
    done = drilled(state, now_us)
    assert apply(done, begin(done), done.since_us + 100 * SECOND)[0].phase is Phase.PREFLIGHT
    with pytest.raises(Refused, match="old"):
        apply(done, begin(done), done.since_us + 101 * SECOND)


def test_the_first_stage_has_nobody_to_drill_with() -> None:
    state = asking(at_phase(Phase.READY))
    assert apply(state, begin(state), 0)[0].phase is Phase.PREFLIGHT
