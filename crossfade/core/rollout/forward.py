"""The way forward: preflight, ramp, soak, gate, approval, and stopping on the way."""

from dataclasses import asdict, replace
from typing import Any

from crossfade.core.evidence import breach, describe
from crossfade.core.rollout import commands as c
from crossfade.core.rollout.back import take_back
from crossfade.core.rollout.commands import Fact
from crossfade.core.rollout.drill import drill_wanted
from crossfade.core.rollout.moves import (
    Step,
    announced,
    flags_facts,
    move,
    own,
    passed,
    wrong_phase,
)
from crossfade.core.rollout.plan import PERSON, percent_of
from crossfade.core.rollout.state import IN_STAGE, Approval, Phase, Rollout
from crossfade.core.verdict import Verdict, worst
from crossfade.errors import ApprovalRefused, Refused

__all__ = [
    "applied",
    "approve",
    "approved",
    "begin",
    "extend",
    "hold",
    "preflight",
    "reconciled",
    "reject",
    "soaked",
]


def begin(state: Rollout, now_us: int) -> Step:
    """ready → preflight."""
    if passed(state, Phase.READY):
        return state, ()
    if state.phase is not Phase.READY:
        raise wrong_phase(state, "begin")
    wanted = drill_wanted(state, now_us)
    if wanted is not None:
        raise Refused(f"begin: {state.current.name} must wait: {wanted}")
    return move(state, Phase.PREFLIGHT, now_us)


def preflight(state: Rollout, command: c.Preflight, now_us: int) -> Step:
    """preflight → ramping, and the flags rise in the same step; or → held."""
    if passed(state, Phase.PREFLIGHT):
        return state, ()
    if state.phase is not Phase.PREFLIGHT:
        raise wrong_phase(state, command.verb)
    verdict = worst(one.verdict for one in command.checks)
    if verdict is not Verdict.PASS:
        bad = [describe(one) for one in command.checks if one.verdict is not Verdict.PASS]
        reason = f"preflight {verdict.value}: " + ("; ".join(bad) or "no check was made")
        return _held(state, reason, now_us)
    stage = state.current
    written = {
        key: max(
            percent_of(state.written, key),
            percent_of(stage.percent, key),
            percent_of(stage.written, key),
        )
        for key in {*state.written, *stage.percent, *stage.written}
    }
    new, facts = move(
        state,
        Phase.RAMPING,
        now_us,
        served=_raised(state, 0),
        written=written,
        ramp_step=0,
        deadline_us=None,
        evidence_since_us=now_us,
        evidence_hash=None,
        reconciliation=None,
    )
    return new, (*facts, *flags_facts(state, new))


def _raised(state: Rollout, step: int) -> dict[str, float]:
    """What a step of the ramp serves: never less than is served already, until its end."""
    stage = state.current
    aim = stage.serves_at(step)
    if step >= len(stage.ramp):
        return aim
    keys = {*state.served, *aim}
    return {key: max(percent_of(state.served, key), percent_of(aim, key)) for key in keys}


def applied(state: Rollout, command: c.Applied, now_us: int) -> Step:
    """ramping → the step's hold → the next step; after the last → soaking.

    The evidence of this attempt begins with the soak.
    """
    if passed(state, Phase.RAMPING):
        return state, ()
    if state.phase is not Phase.RAMPING:
        raise wrong_phase(state, command.verb)
    evidence = own(state, command.evidence, command.verb)
    found = evidence.get("applied")
    if found is None or found.verdict is not Verdict.PASS:
        why = describe(found) if found else "no instance reports"
        raise Refused(f"applied: not every live instance follows the flags yet: {why}")
    if state.ramp_step < len(state.current.ramp):
        return _climb(state, now_us)
    deadline_us = now_us + round(state.current.soak_s * 1e6)
    return move(state, Phase.SOAKING, now_us, evidence_since_us=now_us, deadline_us=deadline_us)


def _climb(state: Rollout, now_us: int) -> Step:
    """Everybody follows this step: hold it, and when it was held, go one higher."""
    hold_us = round(state.current.hold_s * 1e6)
    if state.deadline_us is None and hold_us:
        return replace(state, deadline_us=now_us + hold_us), (
            Fact("ramp", {"step": state.ramp_step, "held_until_us": now_us + hold_us}),
        )
    if state.deadline_us is not None and now_us < state.deadline_us:
        return state, ()
    step = state.ramp_step + 1
    new = replace(
        state, ramp_step=step, served=_raised(state, step), since_us=now_us, deadline_us=None
    )
    return new, (Fact("ramp", {"step": step}), *flags_facts(state, new))


def soaked(state: Rollout, now_us: int) -> Step:
    """soaking → reconciling."""
    if passed(state, Phase.SOAKING):
        return state, ()
    if state.phase is not Phase.SOAKING:
        raise wrong_phase(state, "soaked")
    left_us = (state.deadline_us or 0) - now_us
    if left_us > 0:
        raise Refused(f"soaked: {state.current.name} soaks for another {left_us / 1e6:.1f} s")
    return move(state, Phase.RECONCILING, now_us, deadline_us=None)


def reconciled(state: Rollout, command: c.Reconciled, now_us: int) -> Step:
    """reconciling → awaiting_approval with the evidence frozen; or → rolling_back, held."""
    if passed(state, Phase.RECONCILING):
        return state, ()
    if state.phase is not Phase.RECONCILING:
        raise wrong_phase(state, command.verb)
    if command.began_us is None:
        raise Refused(f"reconciled: no stored reconciliation has the hash {command.reconciliation}")
    if command.began_us < state.since_us:
        raise Refused("reconciled: that reconciliation began before the soak was over; run another")
    evidence = own(state, command.evidence, command.verb)
    broken = breach(evidence)
    if broken:
        reason = "; ".join(describe(one) for one in broken)
        caused = c.Breach(
            actor=command.actor,
            stage=state.stage,
            attempt=state.attempt,
            reason=reason,
            measurements=broken,
        )
        figures = [one.to_json() for one in broken]
        return take_back(state, caused, None, 0.0, now_us, figures)
    if evidence.verdict is Verdict.FAIL:
        return _held(state, evidence.explain(Verdict.FAIL), now_us)
    if evidence.verdict is not Verdict.PASS:
        return state, ()
    expires_us = now_us + round(state.plan.approval_expires_s * 1e6)
    new, facts = move(
        state,
        Phase.AWAITING_APPROVAL,
        now_us,
        evidence_hash=evidence.hash,
        reconciliation=command.reconciliation,
        deadline_us=expires_us,
    )
    name = "crossfade.approval_wanted" if state.current.promote == PERSON else None
    wanted = () if name is None else (announced(new, name),)
    return new, (*facts, Fact("evidence", evidence.to_json()), *wanted)


def approved(state: Rollout, command: c.Approve) -> bool:
    """Whether this very approval was already given."""
    return any(
        (one.stage, one.attempt, one.evidence_hash, one.approver)
        == (command.stage, command.attempt, command.evidence_hash, command.approver)
        for one in state.approvals
    )


def _waiting(state: Rollout, verb: str, approver: str) -> None:
    if state.phase is not Phase.AWAITING_APPROVAL:
        raise ApprovalRefused(str(wrong_phase(state, verb)))
    if not approver:
        raise ApprovalRefused(f"{verb}: name the approver")


def _other_person(state: Rollout, approver: str) -> None:
    if not state.plan.approver_differs:
        return
    operator = state.operator.rpartition(":")[2]
    if approver.strip().casefold() == operator.strip().casefold():
        raise ApprovalRefused(
            f"approve: {operator} started or resumed this rollout; by its plan somebody else "
            "approves"
        )


def approve(state: Rollout, command: c.Approve, now_us: int) -> Step:
    """awaiting_approval → ready of the next stage, or completed after the last."""
    _waiting(state, command.verb, command.approver)
    if state.deadline_us is not None and now_us >= state.deadline_us:
        raise ApprovalRefused("approve: the time to approve this evidence has run out")
    if command.evidence_hash != state.evidence_hash:
        raise ApprovalRefused(
            f"approve: names evidence {command.evidence_hash[:12]}, but "
            f"{(state.evidence_hash or 'none')[:12]} waits for approval"
        )
    _other_person(state, command.approver)
    evidence = own(state, command.evidence, command.verb)
    if evidence.verdict is not Verdict.PASS:
        got_worse = evidence.explain(Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE)
        raise ApprovalRefused(f"approve: the evidence got worse since: {got_worse}")
    limit = state.current.targets.tickets_per_week
    if not 0 <= command.tickets <= limit:
        raise ApprovalRefused(
            f"approve: {command.tickets} support tickets, at most {limit} may pass; "
            "extend the soak or reject"
        )
    approval = Approval(
        stage=state.stage,
        attempt=state.attempt,
        evidence_hash=command.evidence_hash,
        approver=command.approver,
        comment=command.comment,
        tickets=command.tickets,
        at_us=now_us,
    )
    last = state.stage + 1 == len(state.plan.stages)
    changes: dict[str, Any] = {} if last else {"stage": state.stage + 1, "attempt": 1}
    new, facts = move(
        state,
        Phase.COMPLETED if last else Phase.READY,
        now_us,
        approvals=(*state.approvals, approval),
        evidence_hash=None,
        reconciliation=None,
        deadline_us=None,
        **changes,
    )
    told = (
        announced(new, "crossfade.completed")
        if last
        else announced(new, "crossfade.promoted", starts=new.current.start)
    )
    return new, (Fact("approved", asdict(approval)), *facts, told)


def reject(state: Rollout, command: c.Reject, now_us: int) -> Step:
    """awaiting_approval → held."""
    _waiting(state, command.verb, command.approver)
    reason = f"rejected by {command.approver}" + (f": {command.comment}" if command.comment else "")
    new, facts = _held(state, reason, now_us)
    rejected = Fact("rejected", {"approver": command.approver, "comment": command.comment})
    return new, (rejected, *facts)


def extend(state: Rollout, command: c.Extend, now_us: int) -> Step:
    """awaiting_approval → soaking."""
    _waiting(state, command.verb, command.approver)
    if not 0 < command.soak_s <= 366 * 86_400:
        raise ApprovalRefused(
            f"extend: soak_s must be above 0 and at most a year, is {command.soak_s:g}"
        )
    return move(
        state,
        Phase.SOAKING,
        now_us,
        evidence_hash=None,
        deadline_us=now_us + round(command.soak_s * 1e6),
    )


def hold(state: Rollout, command: c.Hold, now_us: int) -> Step:
    """Any phase of a stage → held."""
    if state.phase is Phase.HELD:
        return state, ()
    if state.phase not in (*IN_STAGE, Phase.DRILLING):
        raise wrong_phase(state, command.verb)
    if not command.reason:
        raise Refused("hold: give the reason")
    deadline_us = now_us + 1 if state.deadline_us is None else state.deadline_us
    expired = state.phase is Phase.AWAITING_APPROVAL and now_us >= deadline_us
    name = "crossfade.approval_expired" if expired else "crossfade.held"
    return _held(state, command.reason, now_us, name)


def _held(state: Rollout, reason: str, now_us: int, name: str = "crossfade.held") -> Step:
    new, facts = move(
        state,
        Phase.HELD,
        now_us,
        reason=reason,
        evidence_hash=None,
        deadline_us=None,
        drill=None,
    )
    return new, (*facts, announced(new, name))
