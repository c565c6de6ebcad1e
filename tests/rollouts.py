"""Builders for rollouts, evidence, reports and reconciliations in tests."""

from typing import Any

from crossfade.core.evidence import Evidence
from crossfade.core.rollout import Plan, Rollout, Stage, Targets, start
from crossfade.core.statistics import observe
from crossfade.core.telemetry import Histogram, Report, Role, SinkWindow, TransportWindow
from crossfade.core.verdict import Measurement, Verdict

SECOND = 1_000_000
TARGETS = Targets(
    delivery=0.98,
    error_for_s=3.0,
    latency_for_s=3.0,
    minimum_events=50,
    p95_ms=500.0,
)
REQUIRED = ("applied", "events", "reconciliation")


def a_plan(**changes: Any) -> Plan:
    """Three short weeks: 10, 50 and 100 %."""
    stages = tuple(
        Stage(name=f"week-{number}", percent={"*": share}, soak_s=6.0, targets=TARGETS)
        for number, share in enumerate((10.0, 50.0, 100.0), 1)
    )
    known = {
        "stages": stages,
        "topics": {"critical": "critical", "performance": "performance", "orders": "critical"},
        "approval_expires_s": 60.0,
        "stall_s": 30.0,
        **changes,
    }
    return Plan(**known)


def a_rollout(now_us: int = 0, **changes: Any) -> Rollout:
    """A rollout that was just started."""
    return start(id="r1", name="test", plan=a_plan(**changes), actor="test", now_us=now_us)[0]


def a_measurement(name: str, verdict: Verdict = Verdict.PASS, **changes: Any) -> Measurement:
    known = {"value": 0.0, "limit": 0.0, "n": 3, "unit": "", **changes}
    return Measurement(name=name, verdict=verdict, **known)


def evidence_of(state: Rollout, at_us: int, **verdicts: Verdict) -> Evidence:
    """Evidence of the rollout's own stage and attempt; everything passes unless named."""
    named = dict.fromkeys(REQUIRED, Verdict.PASS) | verdicts
    return Evidence(
        rollout=state.id,
        stage=state.stage,
        attempt=state.attempt,
        since_us=state.evidence_since_us,
        at_us=at_us,
        measurements=tuple(a_measurement(name, verdict) for name, verdict in named.items()),
        required=REQUIRED,
    )


def latencies(value_ms: float, count: int) -> Histogram:
    return observe(Histogram(), *([value_ms] * count))


def publisher_report(at_us: int, instance: str = "app-1", **changes: Any) -> Report:
    """A publisher's second: 20 calls, 200 events, no failure unless told."""
    sink = {"calls": 20, "events": 200, "latency_ms": latencies(8.0, 20), **changes.pop("sink", {})}
    known = {
        "interval_ms": 1_000.0,
        "flag_version": 2,
        "sinks": {"supabase": SinkWindow(**sink), "websocket": SinkWindow(calls=20, events=400)},
        "categories": {"critical": 400},
        "totals": {"published": 400},
        **changes,
    }
    return Report(instance=instance, role=Role.PUBLISHER, at_us=at_us, **known)


def hub_report(at_us: int, instance: str = "hub-1", **resources: float) -> Report:
    """A hub's second: it follows no flags."""
    return Report(
        instance=instance,
        role=Role.HUB,
        at_us=at_us,
        interval_ms=1_000.0,
        flag_version=0,
        resources=resources,
    )


def reader_report(
    at_us: int,
    instance: str = "sub-1",
    role: Role = Role.SUBSCRIBER,
    *,
    realtime: dict[str, Any] | None = None,
    websocket: dict[str, Any] | None = None,
    **changes: Any,
) -> Report:
    """A subscriber's or tap's second: the whole cohort by Realtime, in 40 ms."""
    by_realtime = {
        "connected": True,
        "received": 200,
        "delivered": 200,
        "cohort": 200,
        "latency_ms": latencies(40.0, 200),
        **(realtime or {}),
    }
    by_websocket = {
        "connected": True,
        "received": 200,
        "delivered": 200,
        "latency_ms": latencies(30.0, 200),
        **(websocket or {}),
    }
    known = {
        "interval_ms": 1_000.0,
        "flag_version": 2,
        "transports": {
            "realtime": TransportWindow(**by_realtime),
            "websocket": TransportWindow(**by_websocket),
        },
        "totals": {"delivered": 400, "lost": 0},
        **changes,
    }
    return Report(instance=instance, role=role, at_us=at_us, **known)


def a_reconciliation(verdict: str = "pass", **changes: Any) -> dict[str, Any]:
    """A reconciliation's result in the form of docs/protocol.md section 8."""
    store = {"expected": 400, "present": 400, "missing": 0, **changes.pop("supabase", {})}
    return {
        "at_us": 1,
        "duration_ms": 5.0,
        "verdict": verdict,
        "trigger": "week",
        "full": False,
        "checked_events": 400,
        "blocks": {"checked": 2, "differing": 0, "sealed": 0},
        "stores": {"supabase": store},
        "categories": {},
        "discrepancies": [],
        "discrepancy_count": 0,
        "suites": [],
        **changes,
    }
