"""A plan against recorded telemetry: what each stage would have concluded from it, and when.

The recording can not tell what only a running stage can (whether instances follow its
flags, their breakers, a reconciliation), so those are left out and named.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crossfade.core.evaluation import evaluate, snapshot
from crossfade.core.evidence import GUARDRAILS, describe
from crossfade.core.measurements import SINK
from crossfade.core.rollout import Phase, Plan, Rollout
from crossfade.core.telemetry_totals import Window
from crossfade.core.telemetry_windows import TelemetryWindows
from crossfade.core.verdict import Measurement, Verdict, worst

__all__ = ["NOT_REHEARSED", "StageRehearsal", "rehearse"]

NOT_REHEARSED = ("applied", "breaker", "reconciliation", "delivery")
"""Measurements that a recording can not give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRehearsal:
    """What one stage would have made of the recording.

    ``breach`` says why it would first have been taken back, ``breach_after_s`` when (seconds
    from the recording's begin; both None when it would not). ``enough_after_s`` is when its
    measurements first passed together. ``measurements`` are those at the recording's end.
    ``events_by_soak_end`` is what the recording's rate brings in the stage's soak.
    """

    stage: str
    verdict: Verdict
    measurements: tuple[Measurement, ...]
    breach: str | None = None
    breach_after_s: float | None = None
    enough_after_s: float | None = None
    events_by_soak_end: int = 0

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "stage": self.stage,
            "verdict": self.verdict.value,
            "breach": self.breach,
            "breach_after_s": self.breach_after_s,
            "enough_after_s": self.enough_after_s,
            "events_by_soak_end": self.events_by_soak_end,
            "measurements": [one.to_json() for one in self.measurements],
            "not_rehearsed": list(NOT_REHEARSED),
        }


def rehearse(plan: Plan, windows: Sequence[Window]) -> list[StageRehearsal]:
    """Let every stage of ``plan`` soak over ``windows`` (oldest first), from their begin.

    Raises:
        ValueError: there is no window.
    """
    if not windows:
        raise ValueError("nothing was recorded")
    return [_stage(plan, number, windows) for number in range(len(plan.stages))]


def _stage(plan: Plan, number: int, windows: Sequence[Window]) -> StageRehearsal:
    stage = plan.stages[number]
    since_us = windows[0].from_us
    state = Rollout(
        id="rehearsal",
        name="rehearsal",
        plan=plan,
        phase=Phase.SOAKING,
        stage=number,
        since_us=since_us,
        evidence_since_us=since_us,
        served=dict(stage.percent),
    )
    longest_s = max(stage.targets.error_for_s, stage.targets.latency_for_s)
    seen = TelemetryWindows(since_us, width_us=1, keep_us=round(longest_s * 2e6), live_us=0)
    reason: str | None = None
    breach_after_s: float | None = None
    enough_after_s: float | None = None
    measured: tuple[Measurement, ...] = ()
    required: set[str] = set()
    for window in windows:
        seen.restore((window,), ())
        seen.cut(window.to_us)
        found = snapshot(seen, stage.targets, 0, window.to_us)
        evidence = evaluate(state, found, None, window.to_us)
        measured = tuple(one for one in evidence.measurements if one.name not in NOT_REHEARSED)
        required = set(evidence.required) - set(NOT_REHEARSED)
        after_s = (window.to_us - since_us) / 1e6
        broken = [one for one in measured if one.name in GUARDRAILS and one.verdict is Verdict.FAIL]
        if broken and reason is None:
            reason = "; ".join(describe(one) for one in broken)
            breach_after_s = after_s
        if enough_after_s is None and _verdict(measured, required) is Verdict.PASS:
            enough_after_s = after_s
    recorded_s = (windows[-1].to_us - since_us) / 1e6
    events = seen.total.sink(SINK).events
    return StageRehearsal(
        stage=stage.name,
        verdict=Verdict.FAIL if reason else _verdict(measured, required),
        measurements=measured,
        breach=reason,
        breach_after_s=breach_after_s,
        enough_after_s=enough_after_s,
        events_by_soak_end=round(events / recorded_s * stage.soak_s) if recorded_s else 0,
    )


def _verdict(measured: Sequence[Measurement], required: set[str]) -> Verdict:
    missing = required - {one.name for one in measured}
    return worst([*(one.verdict for one in measured), *(Verdict.INCONCLUSIVE for _ in missing)])
