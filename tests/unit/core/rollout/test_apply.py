"""A table from phase and command to what comes of it, and the invariants I7 and I8."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from crossfade.core.rollout import Fact, Phase, Rollout, apply, flags_of, start
from crossfade.core.rollout import commands as c
from crossfade.core.verdict import Verdict
from crossfade.errors import ApprovalRefused, Refused
from tests.rollouts import SECOND, a_measurement, a_plan, a_rollout, evidence_of

Builder = Callable[..., c.Command]


def address(state: Rollout) -> dict[str, Any]:
    return {"actor": "flow-run:x", "stage": state.stage, "attempt": state.attempt}


def begin(state: Rollout) -> c.Command:
    return c.Begin(**address(state))


def preflight(state: Rollout, *verdicts: Verdict) -> c.Command:
    checks = tuple(a_measurement(f"check-{n}", v) for n, v in enumerate(verdicts))
    return c.Preflight(**address(state), checks=checks or (a_measurement("doctor"),))


def applied(state: Rollout, **verdicts: Verdict) -> c.Command:
    return c.Applied(**address(state), evidence=evidence_of(state, 0, **verdicts))


def soaked(state: Rollout) -> c.Command:
    return c.Soaked(**address(state))


def reconciled(state: Rollout, at_us: int = 0, **verdicts: Verdict) -> c.Command:
    return c.Reconciled(
        **address(state),
        reconciliation="abc",
        began_us=state.since_us,
        evidence=evidence_of(state, at_us, **verdicts),
    )


def approve(state: Rollout, **changes: Any) -> c.Command:
    known = {
        **address(state),
        "evidence_hash": state.evidence_hash,
        "approver": "ada",
        "evidence": evidence_of(state, 99),
        **changes,
    }
    return c.Approve(**known)


def breached(state: Rollout) -> c.Command:
    broken = (a_measurement("breaker", Verdict.FAIL),)
    return c.Breach(**address(state), reason="breaker open", measurements=broken)


def rollback(state: Rollout, **changes: Any) -> c.Command:
    return c.Rollback(**{**address(state), "actor": "cli:ada", "reason": "complaints", **changes})


def resume(state: Rollout) -> c.Command:
    return c.Resume(**address(state), root_cause="pool too small", fix="raised")


def hold(state: Rollout) -> c.Command:
    return c.Hold(**address(state), reason="look first")


FORWARD = {
    Phase.READY: begin,
    Phase.PREFLIGHT: preflight,
    Phase.RAMPING: applied,
    Phase.SOAKING: soaked,
    Phase.RECONCILING: reconciled,
    Phase.AWAITING_APPROVAL: approve,
}


def at_phase(phase: Phase, stage: int = 0, now_us: int = 0) -> Rollout:
    """A rollout driven forward by commands until it is in ``phase`` of ``stage``."""
    state = a_rollout(now_us)
    while (state.phase, state.stage) != (phase, stage):
        now_us += 7 * SECOND
        state, _ = apply(state, FORWARD[state.phase](state), now_us)
    return state


def kinds(facts: tuple[Fact, ...]) -> list[str]:
    return [fact.kind for fact in facts]


def event_names(facts: tuple[Fact, ...]) -> list[str]:
    return [fact.detail["name"] for fact in facts if fact.kind == "event"]


NEXT = {
    Phase.READY: Phase.PREFLIGHT,
    Phase.PREFLIGHT: Phase.RAMPING,
    Phase.RAMPING: Phase.SOAKING,
    Phase.SOAKING: Phase.RECONCILING,
    Phase.RECONCILING: Phase.AWAITING_APPROVAL,
    Phase.AWAITING_APPROVAL: Phase.READY,
}


@pytest.mark.parametrize("phase", FORWARD)
def test_each_command_moves_one_phase(phase: Phase) -> None:
    state = at_phase(phase)
    new, facts = apply(state, FORWARD[phase](state), state.since_us + 7 * SECOND)
    assert new.phase is NEXT[phase]
    assert new.version == state.version + 1
    assert new.actor == "flow-run:x"
    assert "phase" in kinds(facts)


@pytest.mark.parametrize("phase", FORWARD)
@pytest.mark.parametrize("given", FORWARD)
def test_repeated_is_a_no_op_and_early_is_refused(phase: Phase, given: Phase) -> None:
    """Every forward command in every phase: done, already done, or refused; never twice."""
    state, order = at_phase(phase), list(FORWARD)
    command = FORWARD[given](state)
    now_us = state.since_us + 7 * SECOND
    if given is phase:
        assert apply(state, command, now_us)[0].phase is NEXT[phase]
    elif order.index(given) < order.index(phase):
        assert apply(state, command, now_us) == (state, ())
    else:
        with pytest.raises(Refused):
            apply(state, command, now_us)


@pytest.mark.parametrize("phase", [Phase.HELD, Phase.ROLLING_BACK, Phase.ROLLED_BACK])
@pytest.mark.parametrize("given", FORWARD)
def test_stopped_needs_resume(phase: Phase, given: Phase) -> None:
    state = replace(at_phase(Phase.SOAKING), phase=phase, reason="why")
    with pytest.raises(Refused, match="why"):
        apply(state, FORWARD[given](state), state.since_us + 7 * SECOND)


@pytest.mark.parametrize("phase", FORWARD)
@pytest.mark.parametrize("wrong", [{"stage": 1}, {"attempt": 2}, {"stage": None}])
def test_another_stage_or_attempt_is_refused(phase: Phase, wrong: dict[str, Any]) -> None:
    state = at_phase(phase)
    with pytest.raises(Refused, match=r"meant for|name the stage"):
        apply(state, replace(FORWARD[phase](state), **wrong), state.since_us + 7 * SECOND)


def test_a_command_names_who_gives_it() -> None:
    state = a_rollout()
    with pytest.raises(Refused, match="actor"):
        apply(state, replace(begin(state), actor=""), 1)


# Forward


def test_the_flags_rise_with_preflight_and_only_then() -> None:
    state = at_phase(Phase.PREFLIGHT)
    assert flags_of(state, 1).served_percent("orders") == 0
    new, facts = apply(state, preflight(state), 9)
    assert kinds(facts) == ["phase", "flags"]
    flags = flags_of(new, 2)
    assert (flags.served_percent("orders"), flags.written_percent("orders")) == (10, 10)
    assert flags.topics["orders"] == "critical"


def test_what_an_earlier_rollout_left_written_stays_written() -> None:
    state, _ = start(
        id="r1", name="x", plan=a_plan(), actor="x", now_us=0, written={"*": 20, "critical": 60}
    )
    state, _ = apply(state, begin(state), 1)
    state, _ = apply(state, preflight(state), 2)
    assert state.written == {"*": 20, "critical": 60}
    assert state.served == {"*": 10}


@pytest.mark.parametrize("bad", [Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE])
def test_i7_a_preflight_that_did_not_pass_holds(bad: Verdict) -> None:
    state = at_phase(Phase.PREFLIGHT)
    new, _ = apply(state, preflight(state, Verdict.PASS, bad), 9)
    assert (new.phase, dict(new.served)) == (Phase.HELD, {})
    assert "check-1" in new.reason


def test_i7_no_check_at_all_holds() -> None:
    state = at_phase(Phase.PREFLIGHT)
    new, _ = apply(state, replace(preflight(state), checks=()), 9)
    assert new.phase is Phase.HELD
    assert "no check" in new.reason


@pytest.mark.parametrize("bad", [Verdict.FAIL, Verdict.INCONCLUSIVE])
def test_applied_waits_for_every_instance(bad: Verdict) -> None:
    state = at_phase(Phase.RAMPING)
    with pytest.raises(Refused, match="not every live instance"):
        apply(state, applied(state, applied=bad), 9)
    with pytest.raises(Refused, match="no evidence"):
        apply(state, replace(applied(state), evidence=None), 9)


def test_the_soak_lasts_as_long_as_planned() -> None:
    state = at_phase(Phase.SOAKING)
    assert state.evidence_since_us == state.since_us
    with pytest.raises(Refused, match=r"another 0\.1 s"):
        apply(state, soaked(state), state.since_us + 6 * SECOND - 100_000)
    assert apply(state, soaked(state), state.since_us + 6 * SECOND)[0].phase is Phase.RECONCILING


def test_the_gate_wants_a_reconciliation_of_its_own() -> None:
    state = at_phase(Phase.RECONCILING)
    with pytest.raises(Refused, match="no stored reconciliation"):
        apply(state, replace(reconciled(state), began_us=None), state.since_us)
    with pytest.raises(Refused, match="began before the soak was over"):
        apply(state, replace(reconciled(state), began_us=state.since_us - 1), state.since_us)


def test_the_gate_freezes_the_evidence() -> None:
    state = at_phase(Phase.RECONCILING)
    command = reconciled(state, state.since_us)
    new, facts = apply(state, command, state.since_us + 1)
    assert isinstance(command, c.Reconciled)
    assert command.evidence is not None
    assert new.evidence_hash == command.evidence.hash
    assert kinds(facts) == ["phase", "evidence", "event"]
    assert event_names(facts) == ["crossfade.approval_wanted"]
    assert facts[1].detail["hash"] == new.evidence_hash
    assert new.deadline_us == state.since_us + 1 + 60 * SECOND


@pytest.mark.parametrize("verdict", [Verdict.INCONCLUSIVE, Verdict.ERROR])
def test_i7_an_inconclusive_gate_stays(verdict: Verdict) -> None:
    state = at_phase(Phase.RECONCILING)
    assert apply(state, reconciled(state, events=verdict), state.since_us) == (state, ())


def test_i7_a_missing_metric_does_not_pass_the_gate() -> None:
    state = at_phase(Phase.RECONCILING)
    evidence = evidence_of(state, 1)
    fewer = replace(evidence, measurements=evidence.measurements[:-1])
    command = replace(reconciled(state), evidence=fewer)
    assert apply(state, command, state.since_us) == (state, ())


def test_a_broken_guardrail_at_the_gate_is_a_breach() -> None:
    state = at_phase(Phase.RECONCILING)
    new, facts = apply(state, reconciled(state, reconciliation=Verdict.FAIL), state.since_us)
    assert (new.phase, new.served) == (Phase.ROLLING_BACK, {"*": 0})
    assert event_names(facts) == ["crossfade.breach"]


def test_another_failure_at_the_gate_holds() -> None:
    state = at_phase(Phase.RECONCILING)
    new, _ = apply(state, reconciled(state, adoption=Verdict.FAIL), state.since_us)
    assert (new.phase, new.served) == (Phase.HELD, {"*": 10})
    assert "adoption" in new.reason


@pytest.mark.parametrize(
    "changes",
    [{"rollout": "r2"}, {"stage": 1}, {"attempt": 2}, {"since_us": 1}],
)
@pytest.mark.parametrize("phase", [Phase.RAMPING, Phase.RECONCILING, Phase.AWAITING_APPROVAL])
def test_evidence_of_another_attempt_never_counts(phase: Phase, changes: dict[str, Any]) -> None:
    state = at_phase(phase)
    other = replace(evidence_of(state, 1), **changes)
    with pytest.raises(Refused, match="another stage or attempt"):
        apply(state, replace(FORWARD[phase](state), evidence=other), state.since_us)


# Approvals (I8)


def test_i8_an_approval_moves_one_stage_and_says_who() -> None:
    state = at_phase(Phase.AWAITING_APPROVAL)
    command = approve(state, comment="quiet", tickets=2)
    new, facts = apply(state, command, state.since_us + 1)
    assert (new.stage, new.attempt, new.phase) == (1, 1, Phase.READY)
    (approval,) = new.approvals
    assert (approval.approver, approval.comment, approval.tickets) == ("ada", "quiet", 2)
    assert (approval.stage, approval.attempt, approval.at_us) == (0, 1, state.since_us + 1)
    assert approval.evidence_hash == state.evidence_hash
    assert new.evidence_hash is None
    assert new.served == {"*": 10}, "the next week raises the flags, not the approval"
    assert kinds(facts) == ["approved", "phase", "event"]
    assert event_names(facts) == ["crossfade.promoted"]


def test_i8_the_same_approval_again_moves_nothing() -> None:
    state = at_phase(Phase.AWAITING_APPROVAL)
    new, _ = apply(state, approve(state), state.since_us)
    assert apply(new, approve(state), state.since_us) == (new, ())
    with pytest.raises(ApprovalRefused, match="meant for stage 0"):
        apply(new, approve(state, approver="eve"), state.since_us)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"evidence_hash": "f" * 64}, "names evidence ffffffffffff"),
        ({"attempt": 2}, "meant for stage 0 attempt 2"),
        ({"stage": 1}, "meant for stage 1"),
        ({"approver": ""}, "name the approver"),
        ({"tickets": 6}, "6 support tickets, at most 5"),
        ({"tickets": -1}, "-1 support tickets"),
    ],
)
def test_i8_an_approval_that_does_not_bind(changes: dict[str, Any], why: str) -> None:
    state = at_phase(Phase.AWAITING_APPROVAL)
    with pytest.raises(ApprovalRefused, match=why):
        apply(state, approve(state, **changes), state.since_us)


@pytest.mark.parametrize("bad", [Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.ERROR])
def test_i8_worse_evidence_refuses_the_approval(bad: Verdict) -> None:
    state = at_phase(Phase.AWAITING_APPROVAL)
    with pytest.raises(ApprovalRefused, match="got worse since: events"):
        apply(state, approve(state, evidence=evidence_of(state, 5, events=bad)), state.since_us)


def test_i8_an_approval_expires() -> None:
    state = at_phase(Phase.AWAITING_APPROVAL)
    assert state.deadline_us is not None
    with pytest.raises(ApprovalRefused, match="run out"):
        apply(state, approve(state), state.deadline_us)
    assert apply(state, approve(state), state.deadline_us - 1)[0].stage == 1


def test_the_last_approval_completes() -> None:
    state = at_phase(Phase.AWAITING_APPROVAL, stage=2)
    new, _ = apply(state, approve(state), state.since_us)
    assert (new.phase, new.stage, new.served) == (Phase.COMPLETED, 2, {"*": 100})
    assert not new.active
    done = c.Complete(actor="x", stage=2, attempt=1)
    assert apply(new, done, 1) == (new, ())
    with pytest.raises(Refused, match="not approved yet"):
        apply(state, done, 1)


def test_rejected_is_held_with_the_reason() -> None:
    state = at_phase(Phase.AWAITING_APPROVAL)
    new, facts = apply(state, c.Reject(**address(state), approver="ada", comment="no"), 9)
    assert (new.phase, new.reason) == (Phase.HELD, "rejected by ada: no")
    assert new.evidence_hash is None
    assert kinds(facts) == ["rejected", "phase", "event"]
    assert event_names(facts) == ["crossfade.held"]


@pytest.mark.parametrize(
    ("after_s", "name"), [(-1, "crossfade.held"), (0, "crossfade.approval_expired")]
)
def test_an_approval_that_expired_is_told_as_what_it_is(after_s: int, name: str) -> None:
    state = at_phase(Phase.AWAITING_APPROVAL)
    now_us = (state.deadline_us or 0) + after_s * SECOND
    new, facts = apply(state, c.Hold(**address(state), reason="as it is"), now_us)
    assert (new.phase, event_names(facts)) == (Phase.HELD, [name])
    soaking = at_phase(Phase.SOAKING)
    late_us = (soaking.deadline_us or 0) + 9 * SECOND
    _, facts = apply(soaking, c.Hold(**address(soaking), reason="a stall"), late_us)
    assert event_names(facts) == ["crossfade.held"]


def test_extended_soaks_on_and_keeps_its_evidence() -> None:
    state = at_phase(Phase.AWAITING_APPROVAL)
    new, _ = apply(state, c.Extend(**address(state), soak_s=5, approver="ada"), state.since_us)
    assert (new.phase, new.deadline_us) == (Phase.SOAKING, state.since_us + 5 * SECOND)
    assert new.evidence_since_us == state.evidence_since_us
    with pytest.raises(ApprovalRefused):
        apply(new, approve(state), state.since_us)
    for wrong in (0, -1, 1e9):
        with pytest.raises(ApprovalRefused, match="soak_s"):
            apply(state, c.Extend(**address(state), soak_s=wrong, approver="ada"), 9)


# Back


@pytest.mark.parametrize("phase", FORWARD)
@pytest.mark.parametrize(
    ("build", "event"),
    [(breached, "crossfade.breach"), (rollback, "crossfade.rollback_requested")],
)
def test_back_from_every_phase(phase: Phase, build: Builder, event: str) -> None:
    state = at_phase(phase, stage=1)
    new, facts = apply(state, build(state), 9)
    assert (new.phase, new.served) == (Phase.ROLLING_BACK, {"*": 0})
    assert (new.stage, new.attempt) == (state.stage, state.attempt)
    assert new.written == state.written, "what is written is never lowered"
    assert new.incident_id == "r1-1"
    assert kinds(facts) == ["phase", "incident_opened", "flags", "event"]
    assert event_names(facts) == [event]
    payload = facts[-1].detail["payload"]
    assert payload["incident_id"] == "r1-1"
    assert payload["stage_name"] == "week-2"
    assert payload["actor"] == build(state).actor


def test_repeated_triggers_are_one_rollback() -> None:
    state = at_phase(Phase.SOAKING)
    new, _ = apply(state, breached(state), 9)
    for again in (breached(new), rollback(new), rollback(new, scope=("critical",))):
        assert apply(new, again, 10) == (new, ())


def test_a_breach_of_an_earlier_attempt_is_refused() -> None:
    state = at_phase(Phase.SOAKING)
    old = breached(state)
    state, _ = apply(state, old, 9)
    state, _ = apply(state, c.RolledBack(**address(state)), 10)
    state, _ = apply(state, resume(state), 11)
    with pytest.raises(Refused, match="attempt 1"):
        apply(state, old, 12)


def test_a_person_need_not_name_the_stage() -> None:
    state = at_phase(Phase.SOAKING)
    new, _ = apply(state, rollback(state, stage=None, attempt=None), 9)
    assert new.phase is Phase.ROLLING_BACK


def test_a_flow_s_own_rollback_starts_no_second_flow() -> None:
    state = at_phase(Phase.SOAKING)
    _, facts = apply(state, rollback(state, actor="flow-run:gray-fox"), 9)
    assert event_names(facts) == []
    # But a breach that another flow (validate, a week) reports must start the rollback flow.
    _, facts = apply(state, replace(breached(state), actor="flow-run:validate"), 9)
    assert event_names(facts) == ["crossfade.breach"]


def test_only_those_affected_move() -> None:
    state = at_phase(Phase.SOAKING, stage=1)
    new, _ = apply(state, rollback(state, scope=("critical",), to=5), 9)
    flags = flags_of(new, 3)
    assert flags.served_percent("orders") == 5
    assert flags.served_percent("performance") == 50
    assert flags.written_percent("orders") == 50
    wider, facts = apply(new, rollback(new), 10)
    assert wider.served == {"*": 0, "critical": 0}
    assert wider.incident_id == new.incident_id
    assert kinds(facts) == ["flags", "incident_changed", "event"]
    assert event_names(facts) == ["crossfade.rollback_widened"], "told, and no second flow"


def test_what_was_verified_before_it_was_widened_does_not_count() -> None:
    state = at_phase(Phase.SOAKING, stage=1)
    some, _ = apply(state, rollback(state, to=20), 9)
    wider, facts = apply(some, breached(some), 10)
    assert (wider.served, event_names(facts)) == ({"*": 0}, ["crossfade.rollback_widened"])
    assert facts[-1].detail["payload"]["reason"] == breached(some).reason
    done = c.RolledBack(**address(some), since_us=some.since_us)
    with pytest.raises(Refused, match="widened meanwhile"):
        apply(wider, done, 11)
    assert apply(some, done, 11)[0].phase is Phase.ROLLED_BACK
    again, _ = apply(wider, replace(done, since_us=wider.since_us), 12)
    assert again.phase is Phase.ROLLED_BACK
    assert apply(again, done, 13) == (again, ())


def test_a_partial_rollback_can_be_widened_after_it_ended() -> None:
    state = at_phase(Phase.SOAKING, stage=1)
    state, _ = apply(state, rollback(state, scope=("critical",)), 9)
    state, _ = apply(state, c.RolledBack(**address(state), figures={"took_s": 1}), 10)
    assert state.exposed
    new, facts = apply(state, breached(state), 11)
    assert (new.phase, new.incident_id) == (Phase.ROLLING_BACK, state.incident_id)
    assert event_names(facts) == ["crossfade.breach"]
    assert not new.exposed


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"reason": ""}, "give the reason"),
        ({"to": 100.0}, "below 100"),
        ({"to": -1.0}, "at least 0"),
        ({"to": 60.0}, "nothing is served above 60 %"),
        ({"scope": ("criticl",)}, "no category criticl; there are critical, performance"),
    ],
)
def test_a_rollback_that_makes_no_sense(changes: dict[str, Any], why: str) -> None:
    state = at_phase(Phase.SOAKING, stage=1)
    with pytest.raises(Refused, match=why):
        apply(state, rollback(state, **changes), 9)


def test_a_completed_rollout_can_still_be_taken_back() -> None:
    state = at_phase(Phase.AWAITING_APPROVAL, stage=2)
    state, _ = apply(state, approve(state), state.since_us)
    new, _ = apply(state, rollback(state), 9)
    assert (new.phase, new.active) == (Phase.ROLLING_BACK, True)


def test_a_held_stage_is_still_guarded() -> None:
    state = at_phase(Phase.SOAKING)
    state, _ = apply(state, hold(state), 9)
    assert state.exposed
    assert apply(state, breached(state), 10)[0].phase is Phase.ROLLING_BACK


def test_rolled_back_keeps_the_figures() -> None:
    state = at_phase(Phase.SOAKING)
    with pytest.raises(Refused):
        apply(state, c.RolledBack(**address(state)), 9)
    state, _ = apply(state, breached(state), 9)
    new, facts = apply(state, c.RolledBack(**address(state), figures={"took_s": 2.5}), 10)
    assert new.phase is Phase.ROLLED_BACK
    assert facts[1].detail == {"incident_id": "r1-1", "figures": {"took_s": 2.5}}
    assert apply(new, c.RolledBack(**address(state)), 11) == (new, ())


# Resume, hold, cancel


@pytest.mark.parametrize("missing", ["root_cause", "fix"])
def test_resume_needs_cause_and_fix(missing: str) -> None:
    state = at_phase(Phase.SOAKING)
    state, _ = apply(state, hold(state), 9)
    with pytest.raises(Refused, match="record the"):
        apply(state, replace(resume(state), **{missing: ""}), 10)


def test_resume_waits_for_the_rollback_s_end() -> None:
    state = at_phase(Phase.SOAKING)
    state, _ = apply(state, breached(state), 9)
    with pytest.raises(Refused, match="wait until the rollback is verified"):
        apply(state, resume(state), 10)


@pytest.mark.parametrize("phase", FORWARD)
def test_resume_of_what_runs_is_refused(phase: Phase) -> None:
    state = at_phase(phase)
    with pytest.raises(Refused, match=phase.value):
        apply(state, resume(state), 10)


def test_resume_is_a_new_attempt_with_fresh_evidence() -> None:
    state = at_phase(Phase.SOAKING, stage=1)
    state, _ = apply(state, breached(state), 9)
    state, _ = apply(state, c.RolledBack(**address(state)), 10)
    new, facts = apply(state, resume(state), 77)
    assert (new.phase, new.stage, new.attempt) == (Phase.READY, 1, 2)
    assert (new.evidence_since_us, new.incident_id, new.incidents) == (77, None, 1)
    assert facts[-1].kind == "incident_closed"
    assert facts[-1].detail["root_cause"] == "pool too small"
    new, _ = apply(new, begin(new), 80)
    new, _ = apply(new, preflight(new), 81)
    assert new.served == {"*": 50}
    second, _ = apply(new, breached(new), 90)
    assert second.incident_id == "r1-2"


@pytest.mark.parametrize("phase", FORWARD)
def test_hold_stops_and_leaves_traffic(phase: Phase) -> None:
    state = at_phase(phase, stage=1)
    new, _ = apply(state, hold(state), 9)
    assert (new.phase, new.served, new.reason) == (Phase.HELD, state.served, "look first")
    assert apply(new, hold(new), 10) == (new, ())


def test_cancel_only_when_nobody_is_served() -> None:
    state = at_phase(Phase.SOAKING)
    cancel = c.Cancel(**address(state), reason="another plan")
    with pytest.raises(Refused, match="still serves"):
        apply(state, cancel, 9)
    state, _ = apply(state, breached(state), 9)
    with pytest.raises(Refused, match="rolling_back"):
        apply(state, cancel, 9)
    state, _ = apply(state, c.RolledBack(**address(state)), 10)
    new, facts = apply(state, cancel, 11)
    assert (new.phase, new.active) == (Phase.CANCELLED, False)
    assert kinds(facts) == ["phase", "incident_closed"]
    assert apply(new, cancel, 12) == (new, ())
    for command in (rollback(new), breached(new), resume(new)):
        with pytest.raises(Refused, match="cancelled"):
            apply(new, command, 13)
