"""What the flow that drives a stage should do next. It measures nothing and stores nothing."""

from dataclasses import dataclass
from enum import StrEnum

from crossfade.core.evidence import Evidence, describe
from crossfade.core.rollout.drill import drill_wanted
from crossfade.core.rollout.plan import AUTOMATION
from crossfade.core.rollout.state import ENDED_WELL, Phase, Rollout
from crossfade.core.verdict import Verdict

__all__ = ["Action", "Decision", "decide", "overdue"]

POLL_S = 5.0
"""Longest pause between two looks; a breach in between does not wait for a look."""


class Action(StrEnum):
    """What to do next."""

    BEGIN = "begin"
    PREFLIGHT = "preflight"
    APPLY = "apply"
    WAIT = "wait"
    SOAKED = "soaked"
    RECONCILE = "reconcile"
    ASK_APPROVAL = "ask_approval"
    FINISHED = "finished"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The action, why, and for ``wait`` how many seconds until the next look."""

    action: Action
    reason: str
    wait_s: float = 0.0


def decide(
    state: Rollout,
    evidence: Evidence,
    now_us: int,
    *,
    stage: int | None = None,
    attempt: int | None = None,
) -> Decision:
    """Decide for whoever drives ``stage`` (default: the current one) and ``attempt``."""
    stage = state.stage if stage is None else stage
    if state.stage > stage or (state.phase in ENDED_WELL and state.stage == stage):
        name = state.plan.stages[stage].name if stage >= 0 else str(stage)
        return Decision(action=Action.FINISHED, reason=f"{name} was approved")
    if stage > state.stage:
        return _stopped(f"it is {state.current.name}'s turn")
    if attempt is not None and attempt != state.attempt:
        return _stopped(f"attempt {attempt} is over; this is attempt {state.attempt}")
    match state.phase:
        case Phase.READY:
            wanted = drill_wanted(state, now_us)
            if wanted is not None:
                return Decision(action=Action.WAIT, reason=wanted, wait_s=POLL_S)
            return Decision(action=Action.BEGIN, reason=f"{state.current.name} may start")
        case Phase.DRILLING:
            return Decision(action=Action.WAIT, reason="a drill is under way", wait_s=1.0)
        case Phase.PREFLIGHT:
            return Decision(action=Action.PREFLIGHT, reason="check everything before the ramp")
        case Phase.RAMPING:
            return _ramping(state, evidence, now_us)
        case Phase.SOAKING:
            return _soaking(state, evidence, now_us)
        case Phase.RECONCILING:
            return Decision(action=Action.RECONCILE, reason="compare the stores", wait_s=1.0)
        case Phase.AWAITING_APPROVAL:
            if state.current.promote == AUTOMATION:
                reason = "the evidence passed; by the plan nobody is asked"
                return Decision(action=Action.WAIT, reason=reason, wait_s=0.5)
            left_s = max(0.0, ((state.deadline_us or now_us) - now_us) / 1e6)
            reason = f"the evidence passed; a person decides within {left_s:.0f} s"
            return Decision(action=Action.ASK_APPROVAL, reason=reason, wait_s=min(left_s, POLL_S))
        case _:
            why = f": {state.reason}" if state.reason else ""
            return _stopped(f"{state.current.name} is {state.phase.value}{why}")


def overdue(state: Rollout, now_us: int) -> str | None:
    """Why the stage must be held now: an expired approval or a stall; None when it need not."""
    deadline_us = state.deadline_us or now_us
    deadline_of_step = state.deadline_us or state.since_us
    if state.phase is Phase.AWAITING_APPROVAL:
        if now_us >= deadline_us:
            return f"nobody approved within {state.plan.approval_expires_s:g} s"
        return None
    stalled = {
        Phase.RAMPING: (deadline_of_step, "not every instance followed the flags"),
        Phase.DRILLING: (state.since_us, "the drill did not arrive"),
        Phase.SOAKING: (deadline_us, "the soak gave no conclusive evidence"),
        Phase.RECONCILING: (state.since_us, "the gate came to no conclusion"),
    }
    if state.phase in stalled:
        from_us, what = stalled[state.phase]
        if now_us - from_us >= state.plan.stall_s * 1e6:
            return f"{what} within {state.plan.stall_s:g} s"
    return None


def _stopped(reason: str) -> Decision:
    return Decision(action=Action.STOPPED, reason=reason)


def _ramping(state: Rollout, evidence: Evidence, now_us: int) -> Decision:
    left_s = ((state.deadline_us or now_us) - now_us) / 1e6
    if left_s > 0:
        steps = len(state.current.ramp) + 1
        reason = f"step {state.ramp_step + 1} of {steps} is held for another {left_s:.0f} s"
        return Decision(action=Action.WAIT, reason=reason, wait_s=min(left_s, POLL_S))
    found = evidence.get("applied")
    if found is not None and found.verdict is Verdict.PASS:
        return Decision(
            action=Action.APPLY, reason=f"all {found.n} live instances follow the flags"
        )
    why = describe(found) if found else "no instance reports"
    return Decision(action=Action.WAIT, reason=f"flags are not applied: {why}", wait_s=0.5)


def _soaking(state: Rollout, evidence: Evidence, now_us: int) -> Decision:
    left_s = ((state.deadline_us or now_us) - now_us) / 1e6
    if left_s > 0:
        reason = f"{state.current.name} soaks for another {left_s:.0f} s"
        return Decision(action=Action.WAIT, reason=reason, wait_s=min(left_s, POLL_S))
    if evidence.soak_verdict in (Verdict.INCONCLUSIVE, Verdict.ERROR):
        why = evidence.explain(Verdict.INCONCLUSIVE, Verdict.ERROR)
        return Decision(action=Action.WAIT, reason=f"not enough evidence: {why}", wait_s=1.0)
    return Decision(action=Action.SOAKED, reason="the soak is over")
