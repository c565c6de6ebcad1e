"""What a command does to a rollout: state and command in, new state and facts out.

Everything is refused (``Refused``, with the reason) or done; repeating what was done is a
no-op that returns the same state and no facts. Nothing here can promote without a verdict
of PASS over evidence of this very stage and attempt, and a person's approval of it.
"""

from collections.abc import Mapping
from dataclasses import replace

from crossfade.core.rollout import back, drill, ending, forward
from crossfade.core.rollout import commands as c
from crossfade.core.rollout.commands import Command, Fact
from crossfade.core.rollout.moves import Step
from crossfade.core.rollout.plan import Plan
from crossfade.core.rollout.state import ENDED_WELL, Rollout
from crossfade.errors import ApprovalRefused, Refused

__all__ = ["apply", "start"]


def start(
    *,
    id: str,  # noqa: A002
    name: str,
    plan: Plan,
    actor: str,
    now_us: int,
    written: Mapping[str, float] | None = None,
) -> Step:
    """A new rollout of ``plan``, ready for its first stage; nobody is served yet.

    ``written`` is what an earlier rollout left written; it is never lowered.
    """
    rollout = Rollout(
        id=id,
        name=name,
        plan=plan,
        actor=actor,
        operator=actor,
        started_us=now_us,
        since_us=now_us,
        evidence_since_us=now_us,
        written=dict(written or {}),
    )
    return rollout, (Fact("started", {"name": name, "stages": [s.name for s in plan.stages]}),)


def apply(state: Rollout, command: Command, now_us: int) -> Step:
    """Apply ``command``.

    Returns the new state (``version`` + 1) and the facts, or the same state and no facts
    when the command was already done.

    Raises:
        Refused: not allowed in this phase, or meant for another stage or attempt.
        ApprovalRefused: an approval that does not bind.
    """
    if not command.actor:
        raise Refused("actor: who gives the command?")
    if isinstance(command, c.Approve) and forward.approved(state, command):
        return state, ()
    if isinstance(command, c.Complete):
        return _complete(state)
    _check_address(state, command)
    match command:
        case c.Begin():
            step = forward.begin(state, now_us)
        case c.Preflight():
            step = forward.preflight(state, command, now_us)
        case c.Applied():
            step = forward.applied(state, command, now_us)
        case c.Soaked():
            step = forward.soaked(state, now_us)
        case c.Reconciled():
            step = forward.reconciled(state, command, now_us)
        case c.Approve():
            step = forward.approve(state, command, now_us)
        case c.Reject():
            step = forward.reject(state, command, now_us)
        case c.Extend():
            step = forward.extend(state, command, now_us)
        case c.Hold():
            step = forward.hold(state, command, now_us)
        case c.Breach():
            step = back.take_back(
                state, command, None, 0.0, now_us, [one.to_json() for one in command.measurements]
            )
        case c.Rollback():
            step = back.take_back(state, command, command.scope, command.to, now_us, [])
        case c.RolledBack():
            step = back.rolled_back(state, command, now_us)
        case c.Resume():
            step = back.resume(state, command, now_us)
        case c.Cancel():
            step = back.cancel(state, command, now_us)
        case c.DrillStart():
            step = drill.begin(state, command, now_us)
        case c.DrillArrived():
            step = drill.arrived(state, command, now_us)
        case c.CutOver():
            step = ending.cut_over(state, command, now_us)
        case c.Decommission():
            step = ending.decommission(state, command, now_us)
        case _:
            raise Refused(f"{command.verb}: unknown command")
    new, facts = step
    if new is state:
        return state, ()
    return replace(new, version=state.version + 1, actor=command.actor), facts


def _check_address(state: Rollout, command: Command) -> None:
    if command.stage is None and command.attempt is None and isinstance(command, c.Rollback):
        return
    if command.stage is None or command.attempt is None:
        raise Refused(f"{command.verb}: name the stage and the attempt that it is meant for")
    if (command.stage, command.attempt) != (state.stage, state.attempt):
        message = (
            f"{command.verb}: meant for stage {command.stage} attempt {command.attempt}; the "
            f"rollout is at stage {state.stage} attempt {state.attempt}"
        )
        if isinstance(command, c.Approve | c.Reject | c.Extend):
            raise ApprovalRefused(message)
        raise Refused(message)


def _complete(state: Rollout) -> Step:
    if state.phase not in ENDED_WELL:
        raise Refused(f"complete: {state.current.name} is {state.phase.value}, not approved yet")
    return state, ()
