"""Results, their JSON, and verdicts."""

from collections.abc import Mapping

import pytest

from crossfade.core.reconciliation import (
    CRITICAL,
    WARNING,
    Blocks,
    CategoryCount,
    Discrepancy,
    Evidence,
    Kind,
    Reconciliation,
    Rollup,
    StoreCount,
    SuiteResult,
    conclude,
    severity_of,
)
from crossfade.core.verdict import Verdict

LOST = Discrepancy(
    Kind.MISSING, "supabase", "app/1/critical/3/7", "id-7", "t", "critical", CRITICAL, "why"
)
RESULT = Reconciliation(
    at_us=5,
    duration_ms=1.5,
    verdict=Verdict.PASS,
    trigger="week",
    full=True,
    checked_events=10,
    blocks=Blocks(4, 1, 3, 2),
    stores={"supabase": StoreCount(expected=10, present=9, missing=1)},
    categories={"critical": CategoryCount(expected=10, kinds={"missing": 1})},
    discrepancies=(LOST,),
    discrepancy_count=1,
    suites=(SuiteResult(suite="counts", verdict=Verdict.PASS, expectations=3),),
    errors={"websocket": "gone"},
    evidence=Evidence(
        stores=("journal",),
        rollups=(Rollup("critical", 3, "critical", "supabase", 1, 10, 9, 1, 2),),
        sample=(),
        categories=("critical",),
        topics={},
        exact=(),
        tolerance=0.0,
        max_event_bytes=1,
    ),
)


def test_the_json_is_that_of_the_protocol() -> None:
    value = RESULT.to_json()
    assert value["verdict"] == "pass"
    assert value["blocks"] == {"checked": 4, "differing": 1, "sealed": 3, "streams": 2}
    assert set(value["stores"]["supabase"]) >= {
        "expected", "present", "missing", "duplicated", "altered", "phantom", "out_of_order",
        "in_flight", "uncovered",
    }  # fmt: skip
    assert value["categories"]["critical"] == {
        "expected": 10,
        "discrepancies": 1,
        "kinds": {"missing": 1},
    }
    assert value["discrepancies"] == [
        {"kind": "missing", "store": "supabase", "position": "app/1/critical/3/7", "id": "id-7",
         "type": "t", "category": "critical", "severity": "critical", "detail": "why"}
    ]  # fmt: skip
    assert value["suites"] == [
        {"suite": "counts", "verdict": "pass", "expectations": 3, "failed": []}
    ]
    assert "evidence" not in value


def test_the_json_reads_back() -> None:
    back = Reconciliation.from_json(RESULT.to_json())
    assert back.to_json() == RESULT.to_json()
    assert back.discrepancies == (LOST,)
    assert back.evidence is None
    assert back.stores["supabase"].discrepancies == 1


@pytest.mark.parametrize("key", ["verdict", "stores", "discrepancies", "at_us"])
def test_what_is_no_result_is_refused(key: str) -> None:
    value = RESULT.to_json()
    del value[key]
    with pytest.raises(KeyError):
        Reconciliation.from_json(value)


def test_suites_fold_into_the_verdict() -> None:
    failed = SuiteResult(suite="shape", verdict=Verdict.FAIL, expectations=1, failed=("x",))
    broken = SuiteResult(suite="delivery", verdict=Verdict.ERROR, expectations=0)
    folded = RESULT.with_suites([failed, broken])
    assert folded.verdict is Verdict.FAIL
    assert [suite.suite for suite in folded.suites] == ["counts", "shape", "delivery"]
    assert RESULT.with_suites([broken]).verdict is Verdict.ERROR
    assert RESULT.with_suites([]).verdict is Verdict.PASS


def test_severity_is_the_categorys() -> None:
    assert severity_of("critical", ("critical",)) == CRITICAL
    assert severity_of("debug", ("critical",)) == WARNING


CASES: list[tuple[str, int, Mapping[str, str], Mapping[str, tuple[int, dict[str, int]]], Verdict]]
CASES = [
    ("all agree", 9, {}, {"critical": (9, {})}, Verdict.PASS),
    ("nothing checked", 0, {}, {}, Verdict.INCONCLUSIVE),
    ("one critical", 9, {}, {"critical": (10**9, {"missing": 1})}, Verdict.FAIL),
    ("tolerated", 9, {}, {"debug": (1_000, {"missing": 1})}, Verdict.PASS),
    ("beyond the tolerance", 9, {}, {"debug": (1_999, {"altered": 2})}, Verdict.FAIL),
    ("of a category nobody expects", 9, {}, {"zzz": (0, {"phantom": 1})}, Verdict.FAIL),
    ("uncovered critical", 9, {}, {"critical": (9, {"uncovered": 3})}, Verdict.INCONCLUSIVE),
    ("of its own tolerance", 9, {}, {"user_activity": (100, {"missing": 5})}, Verdict.PASS),
    ("beyond its own", 9, {}, {"user_activity": (100, {"missing": 6})}, Verdict.FAIL),
    ("late", 9, {}, {"critical": (9, {"late": 3})}, Verdict.INCONCLUSIVE),
    ("late and lost", 9, {}, {"critical": (9, {"late": 1, "altered": 1})}, Verdict.FAIL),
    ("uncovered other", 9, {}, {"debug": (10**6, {"uncovered": 1})}, Verdict.INCONCLUSIVE),
    ("uncovered and lost", 9, {}, {"critical": (9, {"uncovered": 1, "missing": 1})}, Verdict.FAIL),
    ("a store is gone", 9, {"supabase": "x"}, {"critical": (9, {})}, Verdict.ERROR),
    ("gone and lost", 9, {"tap": "x"}, {"critical": (9, {"missing": 1})}, Verdict.FAIL),
    ("gone, uncovered", 0, {"tap": "x"}, {"critical": (9, {"uncovered": 1})}, Verdict.ERROR),
]


@pytest.mark.parametrize(
    ("checked", "errors", "categories", "verdict"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_i7_verdicts(
    checked: int,
    errors: Mapping[str, str],
    categories: Mapping[str, tuple[int, dict[str, int]]],
    verdict: Verdict,
) -> None:
    counts = {
        name: CategoryCount(expected=expected, kinds=kinds)
        for name, (expected, kinds) in categories.items()
    }
    assert (
        conclude(
            checked_events=checked,
            errors=errors,
            categories=counts,
            exact=("critical",),
            tolerance=0.001,
            tolerances={"user_activity": 0.05},
        )
        is verdict
    )
