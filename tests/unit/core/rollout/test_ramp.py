"""Ramps in steps, shadow stages, stages that nobody is asked about, and who may approve."""

from dataclasses import replace
from typing import Any

import pytest

from crossfade.core.rollout import Action, Phase, Plan, Rollout, Stage, apply, decide, flags_of
from crossfade.core.rollout import start as start_rollout
from crossfade.core.verdict import Verdict
from crossfade.errors import ApprovalRefused, Refused
from tests.rollouts import SECOND, TARGETS, a_plan, evidence_of
from tests.unit.core.rollout.test_apply import (
    applied,
    approve,
    at_phase,
    begin,
    event_names,
    preflight,
    reconciled,
    resume,
    rollback,
    soaked,
)


def a_stage(**changes: Any) -> Stage:
    known = {"name": "week-1", "percent": {"*": 10.0}, "soak_s": 6.0, "targets": TARGETS}
    return Stage(**{**known, **changes})


def started(*stages: Stage, **changes: Any) -> Rollout:
    plan = a_plan(stages=stages, **changes)
    return start_rollout(id="r1", name="test", plan=plan, actor="cli:ada", now_us=0)[0]


def ramping(stage: Stage, now_us: int = 0) -> Rollout:
    state = started(stage)
    state, _ = apply(state, begin(state), now_us)
    return apply(state, preflight(state), now_us)[0]


def served(state: Rollout, topic: str = "orders") -> float:
    return flags_of(state, 1).served_percent(topic)


def test_a_ramp_climbs_step_by_step_and_holds_each() -> None:
    state = ramping(a_stage(percent={"*": 10.0, "critical": 4.0}, ramp=(1.0, 5.0), hold_s=3.0))
    now_us, seen = 0, []
    for _ in range(2):
        seen.append((served(state, "performance"), served(state, "critical")))
        state, facts = apply(state, applied(state), now_us)
        assert state.phase is Phase.RAMPING
        assert not any(fact.kind == "flags" for fact in facts), "the step is held first"
        assert apply(state, applied(state), now_us + 3 * SECOND - 1)[0] is state
        found = decide(state, evidence_of(state, now_us), now_us + 1)
        assert (found.action, "held" in found.reason) == (Action.WAIT, True)
        now_us += 3 * SECOND
        assert decide(state, evidence_of(state, now_us), now_us).action is Action.APPLY
        state, facts = apply(state, applied(state), now_us)
        assert [fact.kind for fact in facts] == ["ramp", "flags"]
    seen.append((served(state, "performance"), served(state, "critical")))
    assert seen == [(1.0, 1.0), (5.0, 4.0), (10.0, 4.0)]
    state, _ = apply(state, applied(state), now_us)
    assert state.phase is Phase.SOAKING
    assert state.evidence_since_us == now_us


def test_a_step_waits_until_every_live_instance_follows() -> None:
    state = ramping(a_stage(ramp=(1.0,), hold_s=3.0))
    with pytest.raises(Refused, match="not every live instance"):
        apply(state, applied(state, applied=Verdict.INCONCLUSIVE), 0)
    state, _ = apply(state, applied(state), 0)
    with pytest.raises(Refused, match="not every live instance"):
        apply(state, applied(state, applied=Verdict.INCONCLUSIVE), 3 * SECOND)


def test_everything_is_written_before_the_first_step_serves_it() -> None:
    state = ramping(a_stage(ramp=(1.0,)))
    flags = flags_of(state, 1)
    assert (flags.served_percent("orders"), flags.written_percent("orders")) == (1.0, 10.0)


def test_a_ramp_never_lowers_what_is_served_already() -> None:
    first = a_stage()
    second = a_stage(name="week-2", percent={"*": 50.0}, ramp=(1.0, 20.0))
    state = replace(started(first, second), stage=1, served={"*": 10.0}, written={"*": 10.0})
    state, _ = apply(state, begin(state), 0)
    state, _ = apply(state, preflight(state), 0)
    seen = [served(state)]
    while state.phase is Phase.RAMPING:
        state, _ = apply(state, applied(state), 0)
        seen.append(served(state))
    assert seen == [10.0, 20.0, 50.0, 50.0]


def test_a_shadow_stage_writes_everything_and_serves_nobody() -> None:
    state = ramping(a_stage(percent={"*": 0.0}, written={"*": 100.0}))
    flags = flags_of(state, 1)
    assert state.current.shadow
    assert (flags.served_percent("orders"), flags.written_percent("orders")) == (0.0, 100.0)


def test_automation_is_not_asked_by_a_form() -> None:
    state = started(a_stage(promote="automation"))
    now_us = 0
    for build in (begin, preflight, applied, soaked, reconciled):
        now_us += 7 * SECOND
        state, facts = apply(state, build(state), now_us)
    assert state.phase is Phase.AWAITING_APPROVAL
    assert event_names(facts) == [], "nobody is wanted"
    assert decide(state, evidence_of(state, now_us), now_us).action is Action.WAIT


@pytest.mark.parametrize("start", ["person", "automation"])
def test_a_promotion_says_who_starts_the_next_stage(start: str) -> None:
    state = at_phase(Phase.AWAITING_APPROVAL)
    following = replace(state.plan.stages[1], start=start)
    stages = (state.plan.stages[0], following, *state.plan.stages[2:])
    state = replace(state, plan=replace(state.plan, stages=stages))
    _, facts = apply(state, approve(state), state.since_us)
    told = next(one.detail for one in facts if one.kind == "event")
    assert (told["name"], told["payload"]["starts"], told["payload"]["stage"]) == (
        "crossfade.promoted",
        start,
        1,
    )


def test_by_the_plan_somebody_else_approves() -> None:
    state = at_phase(Phase.AWAITING_APPROVAL)
    state = replace(state, plan=replace(state.plan, approver_differs=True), operator="cli:ada")
    with pytest.raises(ApprovalRefused, match="somebody else approves"):
        apply(state, approve(state, approver=" Ada"), state.since_us)
    assert apply(state, approve(state, approver="bob"), state.since_us)[0].stage == 1


def test_who_resumes_is_the_operator() -> None:
    state = at_phase(Phase.SOAKING)
    state, _ = apply(state, rollback(state), 1)
    state = replace(state, phase=Phase.ROLLED_BACK)
    state, _ = apply(state, replace(resume(state), actor="cli:eve"), 2)
    assert state.operator == "cli:eve"


def test_an_older_document_without_the_new_fields_is_read() -> None:
    document = a_plan().to_json()
    for stage in document["stages"]:
        for name in ("ramp", "hold_s", "written", "promote", "start"):
            del stage[name]
    for name in ("approver_differs", "drill_fresh_s", "drill_points", "reverse_s"):
        del document[name]
    assert Plan.from_json(document) == a_plan()
