"""The drill: a small cohort taken back on purpose and brought forward again, and timed.

A rollback that was never tried is a hope. The drill lowers the flags by some percentage
points as a rollback would, waits until every live instance follows, and raises them again;
what it took is recorded. Whoever is not in those points notices nothing.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from crossfade.core.evidence import describe
from crossfade.core.rollout import commands as c
from crossfade.core.rollout.commands import Fact
from crossfade.core.rollout.moves import Step, flags_facts, move, own, wrong_phase
from crossfade.core.rollout.plan import percent_of
from crossfade.core.rollout.state import Drill, DrillRecord, Phase, Rollout
from crossfade.core.verdict import Verdict
from crossfade.errors import Refused

__all__ = ["DRILLABLE", "arrived", "begin", "drill_wanted"]

DRILLABLE = (Phase.READY, Phase.SOAKING, Phase.COMPLETED, Phase.CUT_OVER)
"""The phases in which a drill disturbs no step that is under way."""


def drill_wanted(state: Rollout, now_us: int) -> str | None:
    """Why the next stage, or the cut-over, must wait for a drill; None when it need not.

    A stage before which nobody is served has nobody to take back.
    """
    fresh_s = state.plan.drill_fresh_s
    if not fresh_s or not state.serving:
        return None
    last = state.last_drill
    if last is None:
        return "no rollback drill was made yet: run `crossfade drill`"
    if not last.passed:
        return (
            f"the last drill took {last.back_ms / 1e3:.1f} s to be back, more than "
            f"{state.plan.drill_recovery_s:g} s: mend that and run `crossfade drill`"
        )
    age_s = (now_us - last.at_us) / 1e6
    if age_s > fresh_s:
        return f"the last drill is {age_s:.0f} s old, at most {fresh_s:g} s: run `crossfade drill`"
    return None


def begin(state: Rollout, command: c.DrillStart, now_us: int) -> Step:
    """→ drilling: the flags fall by some points."""
    if state.phase is Phase.DRILLING:
        return state, ()
    if state.phase not in DRILLABLE:
        raise wrong_phase(state, command.verb)
    points = state.plan.drill_points if command.points is None else command.points
    if not 0 < points <= 100:
        raise Refused(f"drill: points must be above 0 and at most 100, is {points:g}")
    unknown = sorted(set(command.scope or ()) - state.plan.categories)
    if unknown:
        known = ", ".join(sorted(state.plan.categories))
        raise Refused(f"drill: no category {', '.join(unknown)}; there are {known}")
    lowered = _less(state.served, command.scope, points)
    if lowered == state.served:
        raise Refused("drill: Realtime serves nobody there, so there is nobody to take back")
    under_way = Drill(
        phase=state.phase,
        served=state.served,
        points=points,
        scope=command.scope,
        started_us=now_us,
        deadline_us=state.deadline_us,
    )
    new, facts = move(
        state, Phase.DRILLING, now_us, served=lowered, drill=under_way, deadline_us=None
    )
    return new, (*facts, *flags_facts(state, new))


def arrived(state: Rollout, command: c.DrillArrived, now_us: int) -> Step:
    """drilling, back → drilling, forward → where it was."""
    under_way = state.drill
    if state.phase is not Phase.DRILLING or under_way is None:
        raise wrong_phase(state, command.verb)
    evidence = own(state, command.evidence, command.verb)
    found = evidence.get("applied")
    if found is None or found.verdict is not Verdict.PASS:
        why = describe(found) if found else "no instance reports"
        raise Refused(f"drill_arrived: not every live instance follows the flags yet: {why}")
    took_ms = (now_us - state.since_us) / 1e3
    if under_way.back_ms is None:
        forward = replace(
            state,
            since_us=now_us,
            served=under_way.served,
            drill=replace(under_way, back_ms=took_ms),
        )
        return forward, flags_facts(state, forward)
    record = DrillRecord(
        stage=state.stage,
        points=under_way.points,
        scope=under_way.scope,
        back_ms=under_way.back_ms,
        forward_ms=took_ms,
        passed=under_way.back_ms <= state.plan.drill_recovery_s * 1e3,
        at_us=now_us,
    )
    deadline_us = under_way.deadline_us
    if under_way.phase is Phase.SOAKING and deadline_us is not None:
        deadline_us += now_us - under_way.started_us
    new, facts = move(
        state, under_way.phase, now_us, drill=None, last_drill=record, deadline_us=deadline_us
    )
    return new, (*facts, Fact("drilled", _detail(record)))


def _less(
    served: Mapping[str, float], scope: tuple[str, ...] | None, points: float
) -> dict[str, float]:
    keys = served if scope is None else scope
    lowered = {key: max(0.0, percent_of(served, key) - points) for key in keys}
    changed = {key: share for key, share in lowered.items() if share < percent_of(served, key)}
    return {**served, **changed}


def _detail(record: DrillRecord) -> dict[str, Any]:
    return {**asdict(record), "scope": None if record.scope is None else list(record.scope)}
