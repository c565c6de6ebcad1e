"""The way back: rollback, its end, going on after a recorded root cause, and giving up."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from crossfade.core.rollout import commands as c
from crossfade.core.rollout.commands import Fact
from crossfade.core.rollout.moves import Step, announced, flags_facts, move, wrong_phase
from crossfade.core.rollout.plan import percent_of
from crossfade.core.rollout.state import Phase, Rollout
from crossfade.errors import Refused

__all__ = ["FLOW_ACTOR", "cancel", "resume", "rolled_back", "take_back"]

FLOW_ACTOR = "flow-run:"
"""An actor whose name begins so is a flow run: its rollback starts no second flow."""


def take_back(
    state: Rollout,
    command: c.Breach | c.Rollback,
    scope: tuple[str, ...] | None,
    to: float,
    now_us: int,
    measurements: list[dict[str, Any]],
) -> Step:
    """Any phase → rolling_back: the flags fall at once; ``written`` stays, so nothing is lost."""
    if not command.reason:
        raise Refused(f"{command.verb}: give the reason")
    if not 0 <= to < 100:
        raise Refused(f"{command.verb}: to must be at least 0 and below 100 percent, is {to:g}")
    unknown = sorted(set(scope or ()) - state.plan.categories)
    if unknown:
        known = ", ".join(sorted(state.plan.categories))
        raise Refused(f"{command.verb}: no category {', '.join(unknown)}; there are {known}")
    served = _lowered(state.served, scope, to)
    lowers = served != state.served
    if state.phase is Phase.CANCELLED:
        raise wrong_phase(state, command.verb)
    if state.phase is Phase.DECOMMISSIONED:
        raise Refused(f"{command.verb}: WebSocket is switched off: there is no way back")
    already = state.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK)
    if not lowers:
        if already:
            return state, ()
        if to > 0:
            raise Refused(f"{command.verb}: nothing is served above {to:g} %")
    particulars = {
        "reason": command.reason,
        "actor": command.actor,
        "scope": None if scope is None else list(scope),
        "to": to,
        "measurements": measurements,
    }
    if state.phase is Phase.ROLLING_BACK:
        # Wider than before, but still the one rollback that is under way: its flow goes on, and
        # what it had verified until now does not count.
        new = replace(state, served=served, since_us=now_us)
        widened = _incident(new, particulars)
        return new, (
            *flags_facts(state, new),
            Fact("incident_changed", widened),
            Fact("event", {"name": "crossfade.rollback_widened", "payload": widened}),
        )
    opened = state.incident_id is None
    number = state.incidents + 1 if opened else state.incidents
    new, facts = move(
        state,
        Phase.ROLLING_BACK,
        now_us,
        reason=command.reason,
        served=served,
        evidence_hash=None,
        deadline_us=None,
        drill=None,
        incidents=number,
        incident_id=f"{state.id}-{number}" if opened else state.incident_id,
    )
    kind = "incident_opened" if opened else "incident_changed"
    found = [*facts, Fact(kind, _incident(new, particulars))]
    found += flags_facts(state, new)
    breached = isinstance(command, c.Breach)
    if breached or not command.actor.startswith(FLOW_ACTOR):
        name = "crossfade.breach" if breached else "crossfade.rollback_requested"
        found.append(Fact("event", {"name": name, "payload": _incident(new, particulars)}))
    return new, tuple(found)


def _lowered(
    served: Mapping[str, float], scope: tuple[str, ...] | None, to: float
) -> dict[str, float]:
    if scope is None:
        return {key: min(share, to) for key, share in served.items()}
    lowered = {key: min(percent_of(served, key), to) for key in scope}
    changed = {key: share for key, share in lowered.items() if share < percent_of(served, key)}
    return {**served, **changed}


def _incident(state: Rollout, particulars: dict[str, Any]) -> dict[str, Any]:
    return {
        "incident_id": state.incident_id,
        "rollout_id": state.id,
        "rollout": state.name,
        "stage": state.stage,
        "stage_name": state.current.name,
        "attempt": state.attempt,
        **particulars,
    }


def rolled_back(state: Rollout, command: c.RolledBack, now_us: int) -> Step:
    """rolling_back → rolled_back."""
    if state.phase is Phase.ROLLED_BACK:
        return state, ()
    if state.phase is not Phase.ROLLING_BACK:
        raise wrong_phase(state, command.verb)
    if command.since_us is not None and command.since_us != state.since_us:
        raise Refused("rolled_back: it was widened meanwhile: wait until everybody is back again")
    new, facts = move(state, Phase.ROLLED_BACK, now_us, reason=state.reason)
    detail = {"incident_id": state.incident_id, "figures": dict(command.figures)}
    return new, (
        *facts,
        Fact("incident_changed", detail),
        announced(new, "crossfade.rolled_back"),
    )


def resume(state: Rollout, command: c.Resume, now_us: int) -> Step:
    """rolled_back or held → ready of the same stage, as a new attempt."""
    if state.phase not in (Phase.ROLLED_BACK, Phase.HELD):
        hint = ": wait until the rollback is verified" if state.phase is Phase.ROLLING_BACK else ""
        raise Refused(f"resume: {state.current.name} is {state.phase.value}{hint}")
    missing = [name for name in ("root_cause", "fix") if not getattr(command, name)]
    if missing:
        raise Refused(f"resume: record the {' and the '.join(missing)} first")
    new, facts = move(
        state,
        Phase.READY,
        now_us,
        attempt=state.attempt + 1,
        operator=command.actor,
        evidence_since_us=now_us,
        incident_id=None,
        deadline_us=None,
    )
    return new, (*facts, *_closed(state, command.actor, command.root_cause, command.fix))


def cancel(state: Rollout, command: c.Cancel, now_us: int) -> Step:
    """ready, held or rolled_back, with nobody served → cancelled."""
    if state.phase is Phase.CANCELLED:
        return state, ()
    if not command.reason:
        raise Refused("cancel: give the reason")
    if state.serving:
        raise Refused("cancel: Realtime still serves somebody; roll back first")
    if state.phase not in (Phase.READY, Phase.HELD, Phase.ROLLED_BACK):
        raise wrong_phase(state, command.verb)
    new, facts = move(state, Phase.CANCELLED, now_us, reason=command.reason, incident_id=None)
    closed = _closed(state, command.actor, command.reason, "the rollout was cancelled")
    return new, (*facts, *closed)


def _closed(state: Rollout, actor: str, root_cause: str, fix: str) -> tuple[Fact, ...]:
    if state.incident_id is None:
        return ()
    detail = {
        "incident_id": state.incident_id,
        "root_cause": root_cause,
        "fix": fix,
        "actor": actor,
    }
    return (Fact("incident_closed", detail),)
