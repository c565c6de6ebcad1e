"""The strategy's success metrics, week by week, from the audit log and the incidents."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from crossfade.core.telemetry_totals import UsageTotal, Window
from crossfade.core.verdict import Measurement, Verdict

__all__ = ["METRICS", "WORDS", "Week", "recoveries", "recovery", "usage_rows", "weeks"]

METRICS = (
    "delivery",
    "lost",
    "error_rate",
    "p95_realtime",
    "latency_ratio",
    "dashboard.load",
    "adoption",
    "coverage",
    "dashboard.load",
    "tickets",
)
"""The measurements that a report shows, in its order."""

WORDS: Mapping[str, str] = {
    "delivery": "delivery",
    "lost": "events lost",
    "error_rate": "failed calls",
    "p95_realtime": "p95, Realtime",
    "latency_ratio": "p95 against WebSocket",
    "dashboard.load": "page load",
    "adoption": "adoption",
    "coverage": "uptime (heard of)",
    "tickets": "support tickets",
}
"""The same for people."""


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


def recovery(times_ms: Iterable[float], limit_s: float) -> Measurement:
    """The slowest of all recoveries, drills too, against the plan's limit."""
    found = list(times_ms)
    slowest_s = max(found) / 1e3 if found else None
    verdict = Verdict.INCONCLUSIVE
    if slowest_s is not None:
        verdict = Verdict.PASS if slowest_s <= limit_s else Verdict.FAIL
    return Measurement(
        name="recovery",
        value=None if slowest_s is None else round(slowest_s, 3),
        limit=limit_s,
        n=len(found),
        unit="s",
        verdict=verdict,
        detail="until everybody was back; the slowest rollback or drill",
    )


def usage_rows(windows: Iterable[Window]) -> list[dict[str, Any]]:
    """What each kind of process used, week by week of the calendar (UTC, ISO 8601).

    ``cores`` is the mean share of a core that one process takes; memory and files are peaks.
    """
    found: dict[tuple[str, str], UsageTotal] = {}
    for window in windows:
        day = datetime.fromtimestamp(window.to_us / 1e6, UTC).isocalendar()
        week = f"{day.year}-W{day.week:02}"
        for role, usage in window.usage.items():
            found.setdefault((week, role), UsageTotal()).add(usage)
    return [
        {
            "week": week,
            "role": role,
            "cores": round(one.cpu_s / one.observed_s, 4) if one.observed_s else None,
            "rss_bytes": one.rss_bytes,
            "fds": one.fds,
        }
        for (week, role), one in sorted(found.items())
    ]


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
