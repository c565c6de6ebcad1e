"""What every step of the rollout machine is made of."""

from dataclasses import replace
from typing import Any

from crossfade.core.evidence import Evidence
from crossfade.core.rollout.commands import Fact
from crossfade.core.rollout.state import IN_STAGE, Phase, Rollout
from crossfade.errors import Refused

__all__ = ["Step", "announced", "flags_facts", "move", "own", "passed", "wrong_phase"]

Step = tuple[Rollout, tuple[Fact, ...]]
"""The new state and the facts; the same state and no facts is a no-op."""


def move(state: Rollout, to: Phase, now_us: int, **changes: Any) -> Step:
    """Into another phase; ``reason`` is cleared unless it is given."""
    fact = Fact("phase", {"from": state.phase.value, "to": to.value, "stage": state.stage})
    return replace(state, phase=to, since_us=now_us, **{"reason": "", **changes}), (fact,)


def wrong_phase(state: Rollout, verb: str) -> Refused:
    """The refusal of a command that does not fit the phase."""
    why = f" ({state.reason})" if state.reason else ""
    hint = ""
    if state.phase in (Phase.HELD, Phase.ROLLED_BACK):
        hint = ": resume it with a root cause and a fix"
    return Refused(f"{verb}: {state.current.name} is {state.phase.value}{why}{hint}")


def passed(state: Rollout, phase: Phase) -> bool:
    """Whether this attempt already is beyond ``phase``: a repeated command is then a no-op."""
    return state.phase in IN_STAGE and IN_STAGE.index(state.phase) > IN_STAGE.index(phase)


def own(state: Rollout, evidence: Evidence | None, verb: str) -> Evidence:
    """Evidence counts only for the stage, attempt and time that it was taken for."""
    if evidence is None:
        raise Refused(f"{verb}: there is no evidence")
    told = (evidence.rollout, evidence.stage, evidence.attempt, evidence.since_us)
    if told != (state.id, state.stage, state.attempt, state.evidence_since_us):
        raise Refused(f"{verb}: the evidence is of another stage or attempt")
    return evidence


def flags_facts(before: Rollout, after: Rollout) -> tuple[Fact, ...]:
    """What is served and written from now on, if that changed."""
    if (before.served, before.written) == (after.served, after.written):
        return ()
    return (Fact("flags", {"served": dict(after.served), "written": dict(after.written)}),)


def announced(state: Rollout, name: str, **particulars: str) -> Fact:
    """Something that others should hear of: an event for Prefect, and an alert."""
    payload = {
        "rollout_id": state.id,
        "rollout": state.name,
        "stage": state.stage,
        "stage_name": state.current.name,
        "attempt": state.attempt,
        "phase": state.phase.value,
        "reason": state.reason,
        "actor": state.actor,
        **particulars,
    }
    return Fact("event", {"name": name, "payload": payload})
