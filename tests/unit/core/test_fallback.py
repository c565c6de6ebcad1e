"""A rollback has arrived when every live instance is back, and not before."""

from typing import Any

import pytest

from crossfade.core.fallback import OWED_LIMIT_MS, arrival, explain
from crossfade.core.flags import Flags
from crossfade.core.routing import cohort
from crossfade.core.telemetry import from_bits, to_bits
from crossfade.core.verdict import Verdict, worst

PARTITIONS = 10


def instance(
    name: str,
    role: str,
    *,
    version: int = 7,
    live: bool = True,
    realtime: int = 0,
    serving: dict[str, dict[str, set[int]]] | None = None,
    totals: dict[str, int] | None = None,
    owed_ms: float = 0.0,
) -> dict[str, Any]:
    report: dict[str, Any] = {"sinks": {}, "transports": {}}
    if role == "publisher":
        report["sinks"]["websocket"] = {"owed": 3 if owed_ms else 0, "oldest_owed_ms": owed_ms}
    else:
        report["transports"]["realtime"] = {"partitions": realtime}
        report["totals"] = totals or {}
        for via, topics in (serving or {}).items():
            bits = {topic: to_bits(numbers) for topic, numbers in topics.items()}
            report["transports"].setdefault(via, {})["serving"] = bits
    return {
        "instance": name,
        "role": role,
        "live": live,
        "flag_version": version,
        "report": report,
    }


def status(
    *instances: dict[str, Any], served: float | dict[str, float] = 0.0, kill: bool = False
) -> dict[str, Any]:
    shares = served if isinstance(served, dict) else {"*": served}
    flags = Flags(version=7, partitions=PARTITIONS, served=shares, kill=kill)
    return {"flags": flags.to_json(), "instances": list(instances)}


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


def reader(
    realtime: dict[str, set[int]], websocket: dict[str, set[int]], **totals: int
) -> dict[str, Any]:
    serving = {"realtime": realtime, "websocket": websocket}
    return instance("reader", "subscriber", serving=serving, totals=totals)


def test_a_partial_rollback_moves_exactly_those_it_names() -> None:
    """critical goes down to 20 %, the rest stays at 60 %."""
    shares = {"*": 60.0, "critical": 20.0}
    everything = set(range(PARTITIONS))
    critical, system = (
        set(cohort("crossfade", topic, PARTITIONS, share))
        for topic, share in (("critical", 20.0), ("system", 60.0))
    )
    kept = {"critical": critical, "system": system}
    back = {"critical": everything - critical, "system": everything - system}
    checks = arrival(status(PUBLISHER, reader(kept, back), served=shares))
    assert worst(one.verdict for one in checks) is Verdict.PASS
    assert {"on_realtime", "besides"} <= {one.name for one in checks}

    one_more = min(everything - critical)
    late = reader(
        {**kept, "critical": critical | {one_more}},
        {**back, "critical": everything - critical - {one_more}},
    )
    told = explain(arrival(status(PUBLISHER, late, served=shares)))
    assert told == "on_realtime: reader listens to 1"

    lost = min(system)
    too_far = ({**kept, "system": system - {lost}}, {**back, "system": back["system"] | {lost}})
    told = explain(arrival(status(PUBLISHER, reader(*too_far), served=shares)))
    assert told == "besides: reader left 1 that it keeps"
    # One that is deaf to Realtime goes back by itself, whatever the flags say.
    alone = arrival(status(PUBLISHER, reader(*too_far, fallen_back=1), served=shares))
    assert worst(one.verdict for one in alone) is Verdict.PASS


def test_who_does_not_tell_topics_is_judged_once_nobody_is_served() -> None:
    partly = status(PUBLISHER, instance("reader", "subscriber", realtime=4), served=10.0)
    assert worst(one.verdict for one in arrival(partly)) is Verdict.PASS
    killed = status(PUBLISHER, instance("reader", "subscriber", realtime=4), served=10.0, kill=True)
    assert worst(one.verdict for one in arrival(killed)) is Verdict.FAIL


def test_many_that_lag_are_counted_not_listed() -> None:
    lagging = [instance(f"reader-{n}", "subscriber", version=1) for n in range(8)]
    checks = arrival(status(PUBLISHER, *lagging))
    assert checks[0].value == 8.0
    assert checks[0].n == 9
    assert explain(checks).endswith("and 3 more")


@pytest.mark.parametrize("numbers", [set(), {0}, {3, 49}, set(range(4_096))])
def test_partitions_travel_as_bits(numbers: set[int]) -> None:
    assert from_bits(to_bits(numbers)) == numbers
