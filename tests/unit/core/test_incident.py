"""An incident's story: what belongs to it, in order, and nothing of another rollout."""

from typing import Any

import pytest

from crossfade.core.incident import BEFORE_US, find_incident, timeline, timeline_page
from crossfade.core.telemetry_totals import SinkTotal, Window

OPENED = 10 * BEFORE_US


def incident(**changes: Any) -> dict[str, Any]:
    known = {"id": "r1-2", "rollout_id": "r1", "opened_us": OPENED, "closed_us": None}
    return {**known, "reason": "breaker", **changes}


def row(at_us: int, verb: str = "begin", rollout: str = "r1") -> dict[str, Any]:
    return {"at_us": at_us, "actor": "cli:ada", "verb": verb, "rollout_id": rollout, "facts": []}


def window(at_us: int, failures: int = 0, lost: int = 0) -> Window:
    sinks = {"supabase": SinkTotal(calls=20, failures=failures)}
    return Window(at_us - 1, at_us, lost=lost, sinks=sinks)


def test_its_story_begins_before_it_and_ends_with_it() -> None:
    closed = incident(closed_us=OPENED + 5)
    audit = [row(OPENED - BEFORE_US - 1), row(OPENED - BEFORE_US), row(OPENED + 5), row(OPENED + 6)]
    told = timeline(closed, audit, [], [], until_us=OPENED + 100)
    assert [one.at_us for one in told] == [OPENED - BEFORE_US, OPENED + 5]
    still_open = timeline(incident(), audit, [], [], until_us=OPENED + 5)
    assert [one.at_us for one in still_open] == [OPENED - BEFORE_US, OPENED + 5]


def test_all_sources_are_told_in_order_of_time() -> None:
    result = {"stored_us": OPENED + 2, "verdict": "fail", "trigger": "validate"}
    told = timeline(
        incident(),
        [row(OPENED + 3, "rollback"), row(OPENED + 1, "breach"), row(OPENED, rollout="r2")],
        [window(OPENED + 4, failures=7), window(OPENED), window(OPENED + 5, lost=2)],
        [{**result, "discrepancy_count": 3}],
        until_us=OPENED + 9,
    )
    assert [one.what for one in told] == [
        "cli:ada: breach",
        "validate: fail, 3 discrepancies",
        "cli:ada: rollback",
        "supabase: 7 of 20 calls failed",
        "2 events were given up by readers",
    ]


@pytest.mark.parametrize(("name", "found"), [("r1-2", True), ("2", True), ("r1", False)])
def test_it_is_found_by_id_or_number(name: str, found: bool) -> None:
    assert (find_incident([incident()], name) is not None) is found


def test_a_page_keeps_its_table_whole() -> None:
    told = timeline(incident(), [{**row(OPENED), "command": {"reason": "a|b\nc"}}], [], [], OPENED)
    assert "(a\\|b c) |" in timeline_page(incident(), told)
