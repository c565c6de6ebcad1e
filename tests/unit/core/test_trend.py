"""Trends hold what the windows held, and their pictures are well-formed whatever they hold."""

from xml.etree import ElementTree

import pytest

from crossfade.core.statistics import observe
from crossfade.core.telemetry import Histogram
from crossfade.core.telemetry_totals import SinkTotal, TransportTotal, Window
from crossfade.core.trend import MAX_POINTS, Trend, chart, spark, trends

TARGETS = {"p95_ms": 500.0, "error_rate": 0.05}
SVG = "{http://www.w3.org/2000/svg}"


def window(second: int, *, realtime_ms: float | None = 40.0, failures: int = 0) -> Window:
    latencies = [] if realtime_ms is None else [realtime_ms] * 10
    return Window(
        from_us=second * 1_000_000,
        to_us=(second + 1) * 1_000_000,
        sinks={"supabase": SinkTotal(calls=10, failures=failures)} if latencies else {},
        transports={
            "subscriber/realtime": TransportTotal(
                latency_ms=dict(observe(Histogram(), *latencies).counts)
            ),
            # The tap's own figures are no subscriber's.
            "tap/realtime": TransportTotal(latency_ms=dict(observe(Histogram(), 9_000.0).counts)),
        },
    )


def test_values_limits_and_gaps() -> None:
    realtime, websocket, errors = trends(
        [window(0), window(1, realtime_ms=None), window(2, realtime_ms=80.0, failures=1)], TARGETS
    )
    assert [at for at, _ in realtime.points] == [1_000_000, 2_000_000, 3_000_000]
    first, gap, last = (value for _, value in realtime.points)
    assert (first, gap, last) == (pytest.approx(40, rel=0.03), None, pytest.approx(80, rel=0.03))
    assert (realtime.limit, errors.limit, websocket.limit) == (500.0, 5.0, None)
    assert [value for _, value in errors.points] == [0.0, None, 10.0]
    assert websocket.values == ()


def test_many_windows_are_added_up_and_none_is_left_out() -> None:
    found = trends([window(second, failures=1) for second in range(1_000)], TARGETS)
    assert all(len(one.points) <= MAX_POINTS for one in found)
    assert found[0].points[-1][0] == 1_000_000_000
    assert set(found[2].values) == {10.0}


def trend(*values: float | None, limit: float | None = 2.0) -> Trend:
    points = tuple((number * 1_000_000, value) for number, value in enumerate(values))
    return Trend(name="a <b>", unit="ms", limit=limit, points=points)


def test_spark() -> None:
    assert spark(trend(0.0, 4.0, None, 8.0)) == "▁▅·█"
    assert spark(trend(0.0, 0.0)) == "▁▁"
    assert spark(trend()) == ""
    # A peak among neighbours that share a character is still seen.
    assert spark(trend(*[1.0] * 50, 8.0, *[1.0] * 49), width=10) == "▂▂▂▂▂█▂▂▂▂"


def test_chart_breaks_its_line_where_nothing_was_reported() -> None:
    root = ElementTree.fromstring(chart([trend(1.0, 2.0, None, 3.0), trend()], "x & y"))
    texts = [one.text for one in root.iter(f"{SVG}text")]
    assert "x & y" in texts
    assert "a <b> (ms, limit 2)" in texts
    assert texts.count("nothing was reported") == 1
    lines = [one.get("points", "").split() for one in root.iter(f"{SVG}polyline")]
    assert [len(line) for line in lines] == [2, 1]
    dashed = [one for one in root.iter(f"{SVG}line") if one.get("stroke-dasharray")]
    assert len(dashed) == 2
    # A higher value stands higher, and the limit where its value would.
    first, second = (float(point.split(",")[1]) for point in lines[0])
    assert first > second == pytest.approx(float(dashed[0].get("y1", "0")))


@pytest.mark.parametrize("values", [(), (None,), (0.0,), (5.0,), (0.0, 0.0)])
def test_chart_of_next_to_nothing(values: tuple[float | None, ...]) -> None:
    for limit in (None, 0.0):
        ElementTree.fromstring(chart([trend(*values, limit=limit)], ""))
