"""Verdicts fold to the worst; nothing is never a PASS (I7)."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.core.telemetry import Histogram, Report, Role, SinkWindow, TransportWindow
from crossfade.core.verdict import Measurement, Verdict, worst


def test_i7_nothing_is_inconclusive() -> None:
    assert worst([]) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("pass pass", "pass"),
        ("pass inconclusive", "inconclusive"),
        ("inconclusive error pass", "error"),
        ("error fail inconclusive pass", "fail"),
    ],
)
def test_order(order: str, expected: str) -> None:
    for some in itertools.permutations(order.split()):
        assert worst(map(Verdict, some)) == expected


@given(st.lists(st.sampled_from(Verdict)), st.lists(st.sampled_from(Verdict)))
def test_folding_in_parts_changes_nothing(one: list[Verdict], other: list[Verdict]) -> None:
    if one and other:
        assert worst([*one, *other]) is worst([worst(one), worst(other)])


def test_measurement_round_trip() -> None:
    one = Measurement(
        name="p95", value=None, limit=500, n=0, unit="ms", verdict=Verdict.INCONCLUSIVE, detail="x"
    )
    assert Measurement.from_json(one.to_json()) == one


def test_report_round_trip() -> None:
    report = Report(
        instance="p",
        role=Role.PUBLISHER,
        at_us=1,
        interval_ms=1000,
        flag_version=3,
        sinks={"supabase": SinkWindow(calls=3, latency_ms=Histogram({"7": 2}))},
        transports={"realtime": TransportWindow(connected=True, head_age_ms=3.5)},
    )
    assert Report.from_json(report.to_json()) == report
    assert report.sinks["supabase"].latency_ms.n == 2
