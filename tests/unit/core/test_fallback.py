"""A rollback has arrived when every live instance is back, and not before."""

from typing import Any

import pytest

from crossfade.core.fallback import OWED_LIMIT_MS, arrival, explain
from crossfade.core.verdict import Verdict, worst


def instance(
    name: str,
    role: str,
    *,
    version: int = 7,
    live: bool = True,
    realtime: int = 0,
    owed_ms: float = 0.0,
) -> dict[str, Any]:
    report: dict[str, Any] = {"sinks": {}, "transports": {}}
    if role == "publisher":
        report["sinks"]["websocket"] = {"owed": 3 if owed_ms else 0, "oldest_owed_ms": owed_ms}
    else:
        report["transports"]["realtime"] = {"partitions": realtime}
    return {
        "instance": name,
        "role": role,
        "live": live,
        "flag_version": version,
        "report": report,
    }


def status(*instances: dict[str, Any], served: float = 0.0, kill: bool = False) -> dict[str, Any]:
    return {
        "flags": {"version": 7, "served": {"*": served}, "kill": kill},
        "instances": list(instances),
    }


PUBLISHER = instance("app", "publisher")
SUBSCRIBER = instance("reader", "subscriber")

ARRIVED = status(PUBLISHER, SUBSCRIBER)


@pytest.mark.parametrize(
    ("found", "verdict", "waited_for"),
    [
        (ARRIVED, Verdict.PASS, ""),
        (status(PUBLISHER), Verdict.PASS, ""),
        (
            status(PUBLISHER, instance("reader", "subscriber", version=6)),
            Verdict.FAIL,
            "flags_followed: reader has 6",
        ),
        (status(PUBLISHER, instance("reader", "subscriber", version=6, live=False)), "pass", ""),
        (
            status(PUBLISHER, instance("reader", "subscriber", realtime=4)),
            Verdict.FAIL,
            "on_realtime: reader listens to 4",
        ),
        (
            status(instance("app", "publisher", owed_ms=OWED_LIMIT_MS + 1), SUBSCRIBER),
            Verdict.FAIL,
            "websocket_owed: app owes events for 1001 ms",
        ),
        (status(instance("app", "publisher", owed_ms=OWED_LIMIT_MS), SUBSCRIBER), "pass", ""),
        (status(SUBSCRIBER), Verdict.INCONCLUSIVE, "websocket_owed: nobody reports it"),
        (status(instance("app", "publisher", live=False)), Verdict.INCONCLUSIVE, "nobody"),
    ],
)
def test_arrival(found: dict[str, Any], verdict: str, waited_for: str) -> None:
    checks = arrival(found)
    assert worst(one.verdict for one in checks) == verdict
    assert waited_for in explain(checks)
    assert bool(explain(checks)) == (verdict != "pass")


def test_a_partial_rollback_waits_for_the_flags_only() -> None:
    partly = status(PUBLISHER, instance("reader", "subscriber", realtime=4), served=10.0)
    assert [one.name for one in arrival(partly)] == ["flags_followed", "websocket_owed"]
    killed = status(PUBLISHER, instance("reader", "subscriber", realtime=4), served=10.0, kill=True)
    assert worst(one.verdict for one in arrival(killed)) is Verdict.FAIL


def test_many_that_lag_are_counted_not_listed() -> None:
    lagging = [instance(f"reader-{n}", "subscriber", version=1) for n in range(8)]
    checks = arrival(status(PUBLISHER, *lagging))
    assert checks[0].value == 8.0
    assert checks[0].n == 9
    assert explain(checks).endswith("and 3 more")
