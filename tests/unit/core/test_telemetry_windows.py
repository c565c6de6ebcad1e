from itertools import pairwise

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.core.telemetry import Role
from crossfade.core.telemetry_totals import Window
from crossfade.core.telemetry_windows import MAX_INSTANCES, MAX_UNSAVED, TelemetryWindows
from tests.rollouts import SECOND, hub_report, publisher_report, reader_report

LIVE_US = 5 * SECOND


def fresh(start_us: int = 0, width_s: float = 1.0) -> TelemetryWindows:
    return TelemetryWindows(
        start_us, width_us=round(width_s * SECOND), keep_us=60 * SECOND, live_us=LIVE_US
    )


def test_reports_add_up_into_windows_and_the_total() -> None:
    windows = fresh()
    for second in range(1, 6):
        windows.add(publisher_report(second, sink={"failures": second}), second * SECOND)
        windows.add(reader_report(second), second * SECOND)
    assert windows.total.sink("supabase").rate == (15, 100)
    assert windows.total.sink("supabase").events == 1_000
    assert windows.total.transport(Role.SUBSCRIBER, "realtime").cohort == 1_000
    assert windows.total.transport(Role.TAP, "realtime").cohort == 0
    assert windows.total.categories == {"critical": 2_000}
    last = windows.trailing(5_900_000, 5, SECOND)
    assert [one.sink("supabase").failures for one in last] == [1, 2, 3, 4, 5]


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(0, 5)), max_size=40),
    st.integers(1, 4),
)
def test_nothing_is_counted_twice_or_dropped(gaps: list[tuple[int, int]], width_s: int) -> None:
    windows = fresh(width_s=width_s)
    now_us, expected = 2 * SECOND, 0
    for number, (gap_us, failures) in enumerate(gaps):
        now_us += gap_us
        windows.add(publisher_report(number, sink={"failures": failures}), now_us)
        expected += failures
    assert windows.total.sink("supabase").failures == expected
    windows.cut(now_us)
    saved = windows.take_unsaved()
    assert sum(one.sink("supabase").failures for one in saved) == expected
    assert sum(one.reports for one in saved) == len(gaps)
    assert all(a.to_us <= b.from_us for a, b in pairwise(saved))
    assert windows.take_unsaved() == []


def test_a_repeated_report_counts_once() -> None:
    windows = fresh()
    assert windows.add(publisher_report(7), SECOND)
    assert not windows.add(publisher_report(7), SECOND + 1)
    assert windows.add(publisher_report(7, "app-2"), SECOND + 2)
    assert windows.total.sink("supabase").calls == 40


def test_fresh_evidence_holds_nothing_from_before() -> None:
    windows = fresh()
    for second in (1, 2, 3):
        windows.add(publisher_report(second, sink={"failures": 9}), second * SECOND)
    windows.begin(3_500_000, 3_600_000)
    assert windows.total.reports == 0
    # Its second began before the evidence did, so its failures may be older.
    windows.add(publisher_report(4, sink={"failures": 9}), 4 * SECOND)
    assert windows.total.sink("supabase").failures == 0
    windows.add(publisher_report(5, sink={"failures": 1}), 5 * SECOND)
    assert windows.total.sink("supabase").failures == 1
    trailing = windows.trailing(5 * SECOND, 1, 5 * SECOND)
    assert trailing[0].sink("supabase").failures == 1
    assert windows.instances["app-1"].received_us == 5 * SECOND


def test_lost_counts_what_is_new_and_survives_restarts_of_the_reader() -> None:
    windows = fresh()
    told = [(1, 3), (2, 3), (3, 5), (4, 1)]
    for at, lost in told:
        windows.add(reader_report(at, totals={"lost": lost}), at * SECOND)
    assert windows.total.lost == 3 + 0 + 2 + 1
    assert windows.total.tells_lost


def test_a_reader_s_loss_from_before_the_server_s_restart_is_not_new() -> None:
    windows = fresh()
    windows.add(reader_report(1, totals={"lost": 3}), SECOND)
    again = fresh(2 * SECOND)
    again.restore([], windows.instances.values())
    again.add(reader_report(2, totals={"lost": 3}), 3 * SECOND)
    assert again.total.lost == 0


def test_only_readers_tell_what_is_lost() -> None:
    windows = fresh()
    windows.add(publisher_report(1, totals={"lost": 5}), SECOND)
    windows.add(reader_report(1, totals={"delivered": 5}), SECOND)
    assert (windows.total.lost, windows.total.tells_lost) == (0, False)


@pytest.mark.parametrize(
    ("heard_s", "now_s", "covered_s"),
    [
        ([1, 2, 3], 3, 3),
        ([1, 2, 3], 5, 5),  # the time since the last report counts while it may still be live,
        ([1, 2, 3], 9, 3),  # and not when it has been silent for too long
        ([1, 2, 8, 9], 9, 3),  # nor does a gap
        ([], 9, 0),
    ],
)
def test_coverage(heard_s: list[int], now_s: int, covered_s: int) -> None:
    windows = fresh()
    for second in heard_s:
        windows.add(publisher_report(second), second * SECOND)
    assert windows.covered_us("publisher", now_s * SECOND) == covered_s * SECOND
    assert windows.covered_us("reader", now_s * SECOND) == 0


def test_subscribers_and_taps_are_readers() -> None:
    windows = fresh()
    windows.add(reader_report(1), SECOND)
    windows.add(reader_report(2, "tap", Role.TAP), 2 * SECOND)
    assert windows.covered_us("reader", 2 * SECOND) == 2 * SECOND


def test_live_are_those_heard_of_lately() -> None:
    windows = fresh()
    windows.add(publisher_report(1), SECOND)
    windows.add(reader_report(4), 4 * SECOND)
    assert [one.report.instance for one in windows.live(SECOND + LIVE_US + 1)] == ["sub-1"]


def test_a_restart_goes_on_where_it_was() -> None:
    windows = fresh()
    for second in range(1, 5):
        windows.add(publisher_report(second), second * SECOND)
    windows.cut(4 * SECOND + 1)
    stored = [
        Window.from_json(orjson.loads(orjson.dumps(w.to_json()))) for w in windows.take_unsaved()
    ]
    again = fresh(9 * SECOND)
    again.since_us = 0
    again.restore(stored, windows.instances.values())
    assert again.total.sink("supabase").calls == 80
    assert again.total.covered_us == windows.total.covered_us
    assert again.trailing(5 * SECOND, 1, 5 * SECOND)[0].sink("supabase").calls == 80


def test_limits_of_memory() -> None:
    windows = fresh()
    windows.put_back([Window(number, number + 1) for number in range(MAX_UNSAVED + 5)])
    assert windows.take_unsaved()[0].from_us == 5
    for number in range(MAX_INSTANCES + 1):
        windows.add(publisher_report(1, f"app-{number}"), SECOND + number)
    assert len(windows.instances) == MAX_INSTANCES
    assert "app-0" not in windows.instances
    for second in range(10, 500):
        windows.add(publisher_report(second), second * SECOND)
    assert len(windows.trailing(499 * SECOND, 1, 499 * SECOND)) == 1
    oldest = windows.trailing(499 * SECOND, 499, SECOND)
    assert all(one.reports == 0 for one in oldest[:430])


def test_what_processes_use_adds_up_by_role_and_survives_a_restart() -> None:
    windows = TelemetryWindows(0, width_us=SECOND, keep_us=60 * SECOND, live_us=5 * SECOND)
    used = [(10.0, 50.0, 7.0), (10.4, 90.0, 5.0), (0.1, 40.0, 6.0), (0.3, 40.0, 6.0)]
    for second, (cpu_s, rss_bytes, fds) in enumerate(used, 1):
        resources = {"cpu_s": cpu_s, "rss_bytes": rss_bytes, "fds": fds}
        windows.add(publisher_report(second * SECOND, resources=resources), second * SECOND)
    found = windows.total.usage["publisher"]
    assert found.cpu_s == pytest.approx(0.6), "0.4, nothing of the restart, 0.2"
    assert (found.observed_s, found.rss_bytes, found.fds) == (2.0, 90.0, 7.0)
    assert Window.from_json(windows.total.to_json()).usage == windows.total.usage
    before = windows.total.to_json()
    del before["usage"]
    assert Window.from_json(before).usage == {}, "as an earlier version stored it"


def test_a_service_counts_by_what_it_uses_and_by_nothing_else() -> None:
    windows = fresh()
    for second in range(1, 4):
        report = hub_report(second * SECOND, cpu_s=float(second), rss_bytes=second * 10.0)
        assert windows.add(report, second * SECOND)
    assert not windows.add(report, 3 * SECOND), "a repeated send"
    assert (windows.live(3 * SECOND), windows.instances) == ([], {})
    assert [one.report.instance for one in windows.live_services(3 * SECOND)] == ["hub-1"]
    assert windows.live_services(3 * SECOND + LIVE_US + 1) == []
    assert (windows.total.reports, windows.total.covered_us) == (0, {})
    assert windows.total.usage["hub"].cpu_s == 2.0


def test_what_services_used_in_quiet_windows_is_kept_with_the_next_one() -> None:
    windows = fresh()
    for second in range(1, 61):
        windows.add(hub_report(second * SECOND, cpu_s=float(second)), second * SECOND)
    assert windows.take_unsaved() == [], "quiet days are no rows"
    windows.add(publisher_report(61 * SECOND), 61 * SECOND)
    windows.cut(62 * SECOND)
    kept = windows.take_unsaved()
    assert len(kept) == 1
    assert (kept[0].usage["hub"].cpu_s, kept[0].usage["hub"].observed_s) == (59.0, 59.0)
