"""The success metrics: frozen evidence and approvals of this rollout, nothing else."""

from typing import Any

from crossfade.core.evidence import Evidence
from crossfade.core.success import recoveries, usage_rows, weeks
from crossfade.core.telemetry_totals import UsageTotal, Window
from crossfade.core.verdict import Measurement, Verdict

ROLLOUT: dict[str, Any] = {
    "id": "r1",
    "stages": [
        {"name": "week-1", "targets": {"tickets_per_week": 5}},
        {"name": "week-2", "targets": {"tickets_per_week": 5}},
    ],
}


def evidence(stage: int, attempt: int = 1) -> dict[str, Any]:
    lost = Measurement(
        name="lost", value=0.0, limit=0.0, n=stage, unit="events", verdict=Verdict.PASS
    )
    return Evidence(
        rollout="r1", stage=stage, attempt=attempt, since_us=1, at_us=2, measurements=(lost,)
    ).to_json()


def row(number: int, *facts: dict[str, Any], rollout: str = "r1") -> dict[str, Any]:
    return {"id": number, "at_us": number, "rollout_id": rollout, "facts": list(facts)}


def frozen(document: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "evidence", "detail": document}


def approved(document: dict[str, Any], tickets: int) -> dict[str, Any]:
    detail = {"evidence_hash": document["hash"], "approver": "Ada", "tickets": tickets}
    return {"kind": "approved", "detail": detail}


def test_weeks() -> None:
    first, again, second = evidence(0), evidence(0, attempt=2), evidence(1)
    other = evidence(1, attempt=9)
    found = weeks(
        ROLLOUT,
        [
            row(1, {"kind": "started", "detail": {}}),
            row(2, frozen(first)),
            row(3, {"kind": "phase", "detail": {}}, frozen(again)),
            row(4, approved(again, tickets=7), {"kind": "phase", "detail": {}}),
            row(5, frozen(other), rollout="r0"),
            row(6, frozen(second)),
        ],
    )
    assert [(one.name, one.attempt, one.approver) for one in found] == [
        ("week-1", 1, ""),
        ("week-1", 2, "Ada"),
        ("week-2", 1, ""),
    ]
    tickets = found[1].measurements["tickets"]
    assert (tickets.value, tickets.limit, tickets.verdict) == (7.0, 5.0, Verdict.FAIL)
    assert found[2].measurements["lost"].n == 1
    assert "tickets" not in found[0].measurements


def test_recoveries() -> None:
    assert recoveries([]) == []
    assert recoveries(
        [{"figures": {"arrived_after_ms": 1_250}}, {"figures": {}}, {"reason": "open still"}]
    ) == [1_250.0]


def test_what_each_kind_of_process_used_week_by_week() -> None:
    sunday_us = 1_700_438_400_000_000 - 1  # the last microsecond of 2023-W46
    windows = [Window(0, sunday_us), Window(0, sunday_us + 1), Window(0, sunday_us + 2)]
    for window in windows:
        window.usage["hub"] = UsageTotal(observed_s=10.0, cpu_s=2.5, rss_bytes=5e7, fds=9.0)
    windows[2].usage["control"] = UsageTotal(rss_bytes=6e7)
    assert usage_rows(windows) == [
        {"week": "2023-W46", "role": "hub", "cores": 0.25, "rss_bytes": 5e7, "fds": 9.0},
        {"week": "2023-W47", "role": "control", "cores": None, "rss_bytes": 6e7, "fds": 0.0},
        {"week": "2023-W47", "role": "hub", "cores": 0.25, "rss_bytes": 5e7, "fds": 9.0},
    ]
