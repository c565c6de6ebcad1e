"""The last reconciliations as trends: what is wrong is told from what nobody knows yet."""

from typing import Any

from crossfade.core.reconciliation import CategoryCount, Reconciliation
from crossfade.core.reconciliation_trend import reconciliation_trends
from crossfade.core.trend import chart
from crossfade.core.verdict import Verdict


def result(second: int, kinds: dict[str, int], **errors: str) -> dict[str, Any]:
    return Reconciliation(
        at_us=second * 1_000_000,
        duration_ms=500.0 * second,
        verdict=Verdict.PASS,
        checked_events=100 * second,
        categories={"system": CategoryCount(expected=100, kinds=kinds)},
        discrepancy_count=sum(kinds.values()),
        errors=errors,
    ).to_json()


def test_figures_are_in_the_order_of_time_and_unread_stores_are_a_gap() -> None:
    wrong, undecided, compared, took = reconciliation_trends(
        [
            result(3, {"missing": 2, "late": 4, "uncovered": 1}),
            result(1, {}),
            result(2, {}, supabase="does not answer"),
        ]
    )
    assert wrong.points == ((1_000_000, 0.0), (2_000_000, None), (3_000_000, 2.0))
    assert wrong.limit == 0.0
    assert undecided.values == (0.0, 5.0)
    assert compared.values == (100.0, 200.0, 300.0)
    assert took.values == (0.5, 1.0, 1.5)
    assert "wrong (events, limit 0)" in chart((wrong, undecided), "last")


def test_no_result_is_no_figure() -> None:
    assert [one.points for one in reconciliation_trends([])] == [()] * 4


def test_what_a_document_lacks_is_a_gap() -> None:
    bare = {"at_us": 2_000_000}
    found = reconciliation_trends([bare, {}, {"at_us": None}, result(1, {"missing": 2})])
    assert [len(one.points) for one in found] == [2] * 4
    assert [one.points[0][1] for one in found] == [2.0, 0.0, 100.0, 0.5]
    assert [one.points[1] for one in found] == [(2_000_000, None)] * 4
    chart(found, "last")
