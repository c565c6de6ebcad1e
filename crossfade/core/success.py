"""The strategy's success metrics, week by week, from the audit log and the incidents."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from crossfade.core.verdict import Measurement, Verdict

__all__ = ["METRICS", "Week", "recoveries", "weeks"]

METRICS = (
    "delivery",
    "lost",
    "error_rate",
    "p95_realtime",
    "latency_ratio",
    "adoption",
    "coverage",
    "dashboard.load",
    "tickets",
)
"""The measurements that a report shows, in its order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Week:
    """One attempt of one stage that came to its gate.

    ``measurements`` are those that its frozen evidence holds, with the support tickets that
    the approver counted; ``approver`` is "" while nobody has approved it.
    """

    stage: int
    name: str
    attempt: int
    verdict: Verdict
    measurements: Mapping[str, Measurement]
    evidence_hash: str
    approver: str = ""
    at_us: int = 0


def weeks(rollout: Mapping[str, Any], audit: Iterable[Mapping[str, Any]]) -> list[Week]:
    """Every attempt of ``rollout`` that came to its gate, in order.

    Args:
        rollout: as the control server gives it (docs/protocol.md, section 6).
        audit: its rows, oldest first; those of other rollouts are passed over.
    """
    found: dict[str, Week] = {}
    for row in audit:
        if row["rollout_id"] != rollout["id"]:
            continue
        for fact in row["facts"]:
            detail = fact["detail"]
            if fact["kind"] == "evidence":
                week = _week(rollout, detail, int(row["at_us"]))
                found[week.evidence_hash] = week
            elif fact["kind"] == "approved" and detail["evidence_hash"] in found:
                week = found[detail["evidence_hash"]]
                limit = rollout["stages"][week.stage]["targets"]["tickets_per_week"]
                tickets = _tickets(int(detail["tickets"]), int(limit))
                found[week.evidence_hash] = replace(
                    week,
                    approver=str(detail["approver"]),
                    measurements={**week.measurements, tickets.name: tickets},
                )
    return list(found.values())


def recoveries(incidents: Iterable[Mapping[str, Any]]) -> list[float]:
    """Milliseconds from each breach or request until everybody was verified to be back."""
    figures = (one.get("figures") or {} for one in incidents)
    return [float(one["arrived_after_ms"]) for one in figures if "arrived_after_ms" in one]


def _week(rollout: Mapping[str, Any], evidence: Mapping[str, Any], at_us: int) -> Week:
    stage = int(evidence["stage"])
    measured = [Measurement.from_json(one) for one in evidence["measurements"]]
    return Week(
        stage=stage,
        name=str(rollout["stages"][stage]["name"]),
        attempt=int(evidence["attempt"]),
        verdict=Verdict(evidence["verdict"]),
        measurements={one.name: one for one in measured},
        evidence_hash=str(evidence["hash"]),
        at_us=at_us,
    )


def _tickets(count: int, limit: int) -> Measurement:
    return Measurement(
        name="tickets",
        value=float(count),
        limit=float(limit),
        n=count,
        unit="tickets",
        verdict=Verdict.PASS if count <= limit else Verdict.FAIL,
        detail="counted by the approver",
    )
