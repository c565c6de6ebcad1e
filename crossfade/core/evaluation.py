"""From telemetry and the last reconciliation to the evidence of one stage and attempt.

Nothing passes by absence: a figure that nobody reports, or that too few observations stand
behind, is INCONCLUSIVE, and so is a required measurement that is not there at all (I7).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crossfade.core import measurements as measure
from crossfade.core.evidence import Evidence
from crossfade.core.measurements import SINK, Snapshot, sub_windows
from crossfade.core.rollout.plan import Targets
from crossfade.core.rollout.state import Rollout
from crossfade.core.statistics import proportion_lower, proportion_upper
from crossfade.core.telemetry_totals import Window
from crossfade.core.telemetry_windows import TelemetryWindows
from crossfade.core.verdict import Measurement, Verdict

__all__ = ["StoredReconciliation", "evaluate", "snapshot", "window_width_us"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReconciliation:
    """A stored reconciliation; ``began_us`` is by the server's clock."""

    hash: str
    began_us: int
    document: Mapping[str, Any]

    @property
    def verdict(self) -> Verdict:
        """What it concluded."""
        return Verdict(self.document["verdict"])

    def summary(self) -> dict[str, Any]:
        """What evidence keeps of it."""
        kept = ("verdict", "at_us", "trigger", "checked_events", "stores", "discrepancy_count")
        found = {key: self.document[key] for key in kept if key in self.document}
        return {"hash": self.hash, **found}


def window_width_us(targets: Sequence[Targets]) -> int:
    """The width of telemetry windows that serves the shortest sub-window of all targets."""
    shortest_s = min(
        (
            sub_windows(for_s)[1]
            for one in targets
            for for_s in (one.error_for_s, one.latency_for_s)
        ),
        default=60.0,
    )
    return round(max(1.0, shortest_s / 2) * 1e6)


def snapshot(
    windows: TelemetryWindows, targets: Targets, flag_version: int, now_us: int
) -> Snapshot:
    """Cut ``windows`` to what ``evaluate`` needs."""

    def trailing(for_s: float) -> tuple[Window, ...]:
        count, width_s = sub_windows(for_s)
        return tuple(windows.trailing(now_us, count, round(width_s * 1e6)))

    return Snapshot(
        live=tuple(windows.live(now_us)),
        flag_version=flag_version,
        since_us=windows.since_us,
        covered_us={kind: windows.covered_us(kind, now_us) for kind in ("publisher", "reader")},
        total=windows.total,
        error_windows=trailing(targets.error_for_s),
        latency_windows=trailing(targets.latency_for_s),
    )


def evaluate(
    rollout: Rollout, found: Snapshot, reconciliation: StoredReconciliation | None, now_us: int
) -> Evidence:
    """The evidence of the rollout's current stage and attempt, as of now.

    ``reconciliation`` is the last conclusive one; it counts only if it began after this
    attempt's evidence did.
    """
    targets = rollout.current.targets
    elapsed_us = now_us - rollout.evidence_since_us
    serves = any(share > 0 for share in rollout.current.percent.values())
    if reconciliation is not None and reconciliation.began_us < rollout.evidence_since_us:
        reconciliation = None
    measured = [
        measure.applied(found),
        measure.coverage(found, elapsed_us),
        measure.events(found, targets),
        measure.error_rate(found, targets),
        *measure.error_rate_sustained(found, targets, elapsed_us),
        measure.breaker(found),
        measure.lost(found),
        *measure.latencies(found, targets, elapsed_us, serves),
        *measure.page_load(found),
        *_reconciled(reconciliation, targets),
    ]
    required = ["applied", "coverage", "events", "error_rate", "breaker", "lost", "latency_ratio"]
    if serves:
        measured.append(measure.adoption(found, targets))
        required += ["p95_realtime", "adoption"]
    required += ["reconciliation", "delivery"]
    return Evidence(
        rollout=rollout.id,
        stage=rollout.stage,
        attempt=rollout.attempt,
        since_us=rollout.evidence_since_us,
        at_us=now_us,
        measurements=tuple(measured),
        required=tuple(required),
        reconciliation=None if reconciliation is None else reconciliation.summary(),
    )


def _reconciled(
    reconciliation: StoredReconciliation | None, targets: Targets
) -> tuple[Measurement, ...]:
    if reconciliation is None:
        return ()  # required: what is missing is INCONCLUSIVE
    document = reconciliation.document
    discrepancies = int(document.get("discrepancy_count", 0))
    verdict = reconciliation.verdict
    checked = int(document.get("checked_events", 0))
    if verdict is Verdict.PASS and not checked:
        verdict = Verdict.INCONCLUSIVE
    measured = [
        Measurement(
            name="reconciliation",
            value=float(discrepancies),
            limit=0.0,
            n=checked,
            unit="discrepancies",
            verdict=verdict,
            detail=_discrepancies(document),
        )
    ]
    store = document.get("stores", {}).get(SINK)
    if store is not None:
        expected, missing = int(store["expected"]), int(store["missing"])
        measured.append(_delivery(expected, min(missing, expected), targets))
    return tuple(measured)


def _delivery(expected: int, missing: int, targets: Targets) -> Measurement:
    verdict, detail = Verdict.INCONCLUSIVE, "no event was expected"
    arrived = expected - missing
    if expected:
        lower = proportion_lower(arrived, expected, targets.confidence)
        upper = proportion_upper(arrived, expected, targets.confidence)
        if lower >= targets.delivery:
            verdict = Verdict.PASS
        elif upper < targets.delivery:
            verdict = Verdict.FAIL
        detail = f"at least {lower:.4%} at {targets.confidence:.0%} confidence; {missing} missing"
    return Measurement(
        name="delivery",
        value=measure.percent(arrived / expected) if expected else None,
        limit=measure.percent(targets.delivery),
        n=expected,
        unit="%",
        relation=">=",
        verdict=verdict,
        detail=detail,
    )


def _discrepancies(document: Mapping[str, Any]) -> str:
    rows = document.get("discrepancies", ())[:3]
    named = "; ".join(f"{row['kind']} in {row['store']} at {row['position']}" for row in rows)
    errors = "; ".join(f"{store}: {text}" for store, text in document.get("errors", {}).items())
    return "; ".join(part for part in (named, errors) if part)
