"""What a plan will do and ask, before anything is started; and what is unwise about it."""

import math
from dataclasses import dataclass

from crossfade.core.flags import EVERYTHING
from crossfade.core.rollout.plan import AUTOMATION, Plan, Stage, percent_of

__all__ = ["Question", "duration_s", "questions", "warnings"]

_BIG_FIRST_STEP = 25.0
_BIG_STEP = 50.0
_SHORT_SOAK_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that a gate asks: the measurement's name, and what passes, in words."""

    name: str
    passes: str


def questions(plan: Plan, number: int) -> tuple[Question, ...]:
    """What stage ``number`` (from 0) must show, in the order in which it is asked."""
    stage = plan.stages[number]
    targets = stage.targets
    served_before = number > 0 and not plan.stages[number - 1].shadow
    found: list[Question] = []
    if plan.drill_fresh_s and served_before:
        found.append(
            Question(
                "drill",
                f"one of the last {_span(plan.drill_fresh_s)}, back within "
                f"{plan.drill_recovery_s:g} s",
            )
        )
    found += [
        Question("preflight", "control server, hub, Supabase, journal, instances, flags"),
        Question("applied", "every live instance follows the flags, at each step of the ramp"),
        Question("coverage", "a publisher and a reader were heard of for 95 % of the soak"),
        Question("events", f"at least {targets.minimum_events:,} written to Supabase"),
        Question(
            "error_rate",
            f"at most {targets.error_rate:.2%} at {targets.confidence:.0%} confidence; "
            f"more for {_span(targets.error_for_s)} takes it back",
        ),
        Question("breaker", "none is open; one that opens takes it back"),
        Question("lost", "0 events; one that is lost takes it back"),
        Question(
            "latency_ratio",
            f"at most {targets.latency_ratio:g} × WebSocket's p95 (or {targets.latency_floor_ms:g} "
            f"ms); more for {_span(targets.latency_for_s)} takes it back",
        ),
    ]
    if not stage.shadow:
        found += [
            Question("p95_realtime", f"at most {targets.p95_ms:g} ms"),
            Question("adoption", f"at least {targets.adoption:.0%} of the cohort's events"),
        ]
    needed = _needed(targets.delivery, targets.confidence)
    found += [
        Question("reconciliation", "the stores agree; a failed one takes it back"),
        Question(
            "delivery",
            f"at least {targets.delivery:.2%} at {targets.confidence:.0%} confidence: "
            f"{needed:,} events with none missing show that",
        ),
    ]
    if stage.promote == AUTOMATION:
        found.append(Question("approval", "nobody is asked: evidence that passed goes on"))
    else:
        who = " by somebody who did not start it" if plan.approver_differs else ""
        found.append(
            Question(
                "approval",
                f"a person{who}, within {_span(plan.approval_expires_s)}; at most "
                f"{targets.tickets_per_week} support tickets",
            )
        )
    return tuple(found)


def warnings(plan: Plan) -> tuple[str, ...]:
    """What is unwise about the plan, most important first; empty when nothing is."""
    found: list[str] = []
    before = 0.0
    for number, stage in enumerate(plan.stages):
        top = max((*stage.percent.values(), 0.0))
        step = top - max(before, max(stage.ramp, default=0.0))
        limit = _BIG_STEP if before else _BIG_FIRST_STEP
        if step > limit:
            found.append(
                f"{stage.name} raises Realtime's share by {step:g} points at once: a fault that "
                "the stages before could not show meets everybody; begin smaller, or add a ramp"
            )
        if stage.soak_s < _SHORT_SOAK_S:
            found.append(
                f"{stage.name} soaks for {_span(stage.soak_s)}: a day's pattern of traffic is "
                "longer"
            )
        if stage.promote == AUTOMATION and number + 1 == len(plan.stages):
            found.append(f"{stage.name} is the last and nobody is asked whether it is done")
        found += _blind(stage)
        before = max(before, top)
    last = plan.stages[-1]
    left = [name for name in sorted(plan.categories) if percent_of(last.percent, name) < 100]
    if left or last.percent.get(EVERYTHING, 0.0) < 100:
        found.append(f"the plan ends with less than 100 %: {', '.join(left) or 'the rest'}")
    if not plan.drill_fresh_s and len(plan.stages) > 1:
        found.append("no stage asks for a rollback drill (drill_fresh_s is 0)")
    return tuple(found)


def duration_s(plan: Plan) -> float:
    """The least time that the plan takes from its first ramp to its last gate, in seconds."""
    return sum(stage.soak_s + len(stage.ramp) * stage.hold_s for stage in plan.stages)


def _blind(stage: Stage) -> list[str]:
    """Targets that the least number of events can not show."""
    needed = _needed(stage.targets.delivery, stage.targets.confidence)
    if stage.targets.minimum_events >= needed:
        return []
    return [
        f"{stage.name}: {stage.targets.minimum_events:,} events can not show a delivery of "
        f"{stage.targets.delivery:.2%}; its gate will wait for {needed:,}"
    ]


def _needed(share: float, confidence: float) -> int:
    """How many with none missing show ``share``: the exact bound is (1 - confidence)^(1/n)."""
    if share >= 1:
        return 10**12
    return math.ceil(math.log(1 - confidence) / math.log(share))


def _span(seconds: float) -> str:
    for unit, size in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
