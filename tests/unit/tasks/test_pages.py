"""Pages say what a person must know, and no value breaks their tables."""

from typing import Any

from crossfade.backfill import Backfill
from crossfade.core.reconciliation import (
    Blocks,
    CategoryCount,
    Discrepancy,
    Kind,
    Reconciliation,
    StoreCount,
    SuiteResult,
)
from crossfade.core.rollout.decide import Action
from crossfade.core.trend import Trend
from crossfade.core.verdict import Measurement, Verdict
from tasks.control_plane import Step
from tasks.pages import (
    backfill_page,
    cell,
    checks_page,
    evidence_page,
    measurement_table,
    reconciliation_page,
    rollback_page,
)

LOST = Measurement(
    name="lost", value=0.0, limit=0.0, n=1_234, unit="events", verdict=Verdict.PASS
).to_json()
UNKNOWN = Measurement(
    name="delivery",
    value=None,
    limit=99.9,
    n=0,
    unit="%",
    relation=">=",
    verdict=Verdict.INCONCLUSIVE,
    detail="a | b\nc",
).to_json()
STAGES = [
    {"name": "week-1", "percent": {"*": 10.0}},
    {"name": "week-2", "percent": {"*": 50.0, "debug": 0.0}},
]


def step(stage: int = 0) -> Step:
    rollout: dict[str, Any] = {
        "name": "flights",
        "stage": stage,
        "stages": STAGES,
        "attempt": 2,
        "evidence_hash": "ab" * 32,
        "deadline_us": 1_700_000_000_000_000,
    }
    evidence: dict[str, Any] = {
        "measurements": [LOST, UNKNOWN],
        "since_us": 1_600_000_000_000_000,
        "at_us": 1_650_000_000_000_000,
        "reconciliation": {"hash": "c" * 64, "verdict": "pass", "checked_events": 12_000},
    }
    return Step(Action.ASK_APPROVAL, "a person decides", 1.0, rollout, evidence)


def columns(line: str) -> int:
    return line.replace("\\|", "").count("|")


def test_tables_keep_their_columns() -> None:
    lines = measurement_table([LOST, UNKNOWN]).splitlines()
    assert {columns(line) for line in lines} == {7}
    assert "| lost | 0 events | <= 0 | 1,234 | ✅ pass |  |" in lines
    assert lines[3].startswith("| delivery | – | >= 99.9 | 0 | ❔ inconclusive | a \\| b c |")
    assert cell("back\\slash") == "back\\\\slash"


def test_evidence() -> None:
    page = evidence_page(step(), "")
    assert "week-1 of “flights”" in page
    assert "**10 %**" in page
    assert "After it: **week-2**" in page
    assert "ab" * 32 in page
    assert "attempt 2" in page
    assert "Expires 2023-11-14 22:13:20 UTC" in page
    assert "12,000 events checked, 0 discrepancies" in page
    assert "not accepted" not in page
    assert "| lost | 0 events | ≤ 0 | 1,234 | ✅ pass |" in page
    assert "| delivery | – | ≥ 99.9 | 0 | ❔ inconclusive |" in page
    assert "```" not in page
    assert "somebody else" not in page


def test_evidence_shows_how_it_went_and_where_there_is_more() -> None:
    went = Trend(name="p95 realtime", unit="ms", limit=500.0, points=((1, 10.0), (2, 80.0)))
    nothing = Trend(name="errors", unit="%", points=())
    page = evidence_page(step(), "", (went, nothing), {"the chart": "../x"})
    assert "p95 realtime  ▂█  10 to 80 ms, limit 500\n" in page
    assert "errors          no figures\n" in page
    assert "In full: [the chart](../x)" in page


def test_evidence_says_who_may_not_approve() -> None:
    found = step()
    found.rollout.update(operator="cli:ada", plan={"approver_differs": True})
    assert "somebody else than **ada** approves" in evidence_page(found, "")


def test_evidence_of_the_last_stage_shown_again() -> None:
    page = evidence_page(step(1), "tickets: too many")
    assert "**50 %, 0 % of debug**" in page
    assert "After it: **the rollout is complete**" in page
    assert "**Your last answer was not accepted:** tickets: too many" in page


def test_reconciliation_names_stores_suites_and_discrepancies() -> None:
    wrong = Discrepancy(
        Kind.MISSING, "supabase", "app/1/critical/3/17", "id", "t", "critical", "critical", "x|y"
    )
    result = Reconciliation(
        at_us=1,
        duration_ms=1_500.0,
        verdict=Verdict.FAIL,
        checked_events=10_000,
        blocks=Blocks(4, 1, 3, 2),
        stores={"supabase": StoreCount(expected=10_000, present=9_999, missing=1)},
        categories={"critical": CategoryCount(expected=10_000, kinds={"missing": 1})},
        discrepancies=(wrong,) * 30,
        discrepancy_count=30,
        suites=(SuiteResult(suite="counts", verdict=Verdict.FAIL, expectations=3, failed=("a",)),),
        errors={"websocket": "no file"},
    )
    page = reconciliation_page(result.to_json())
    assert page.startswith("## Reconciliation: ❌ fail")
    assert "| supabase | 10,000 | 9,999 | 1 |" in page
    assert "| counts | ❌ fail | 3 | a |" in page
    assert "websocket could not be read: no file" in page
    assert page.count("app/1/critical/3/17") == 20
    assert "The first 20 of 30." in page


def test_other_pages() -> None:
    assert checks_page([LOST], "week-1").startswith("## Preflight of week-1")
    page = rollback_page({"arrived_after_ms": 12.5, "checks": [LOST]}, "breaker | open")
    assert page.startswith("## Rolled back: breaker \\| open")
    assert "| arrived after ms | 12.5 |" in page
    assert "| lost |" in page
    copied = Backfill(
        at_us=1, duration_ms=2.0, dry_run=False, everything=False, inserted=7_000, parked=("p|q",)
    )
    page = backfill_page(copied.to_json())
    assert "| inserted | 7,000 |" in page
    assert "- p\\|q" in page
