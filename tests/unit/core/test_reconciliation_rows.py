"""Whose content is believed, and what is said of the others."""

from typing import Any

import pytest

from crossfade.core.event import Event, content_hash
from crossfade.core.reconciliation import Kind
from crossfade.core.reconciliation_plan import Block, JournalStream
from crossfade.core.reconciliation_rows import Row, classify, differing_fields, phantom
from tests.reconciliation_data import make_event, stream

WHERE = stream("critical", 3)
RIGHT = make_event(WHERE, 1)
STALE = RIGHT._replace(data='{"a":1}')
FORGED = make_event(WHERE, 1, data='{"a":1}')
OTHER = make_event(WHERE, 1, data='{"b":2}')
CHECKSUM = RIGHT._replace(hash=RIGHT.hash ^ 1)


def row(event: Event, **fields: Any) -> Row:
    return Row(event, content_hash(event), **fields)


def judge(
    journal: Event | None,
    websocket: Event | None,
    supabase: Event | None,
    *,
    routed: bool = True,
    covered: bool = True,
    owed: bool = False,
) -> set[tuple[str, str]]:
    facts = JournalStream(
        stream=WHERE,
        category="critical",
        floor=1,
        head=1,
        held=1,
        watermark=1,
        owed={"websocket": ((1, 1),), "supabase": ((1, 1),) if routed else ()},
        next={} if owed else {"websocket": 2, "supabase": 2},
    )
    rows = {"journal": journal, "websocket": websocket, "supabase": supabase}
    findings = classify(
        Block(WHERE, 0, 1, 1),
        facts,
        {name: [row(event)] if event else [] for name, event in rows.items()},
        covered=lambda at_us: covered,
        exact=("critical",),
    )
    return {(one.kind.value, one.store) for one in findings.discrepancies}


@pytest.mark.parametrize(
    ("journal", "websocket", "supabase", "found"),
    [
        (RIGHT, RIGHT, RIGHT, set()),
        # One differs from two that agree: it is the one, whatever its checksum says.
        (RIGHT, RIGHT, STALE, {("altered", "supabase")}),
        (RIGHT, RIGHT, FORGED, {("altered", "supabase")}),
        (RIGHT, FORGED, RIGHT, {("altered", "websocket")}),
        (STALE, RIGHT, RIGHT, {("altered", "journal")}),
        (FORGED, RIGHT, RIGHT, {("altered", "journal")}),
        # Two that agree but have lost their checksum do not outvote an intact journal.
        (RIGHT, STALE, STALE, {("altered", "websocket"), ("altered", "supabase")}),
        # Three different contents: the journal if it is intact, else whoever has its checksum.
        (RIGHT, FORGED, OTHER, {("altered", "websocket"), ("altered", "supabase")}),
        (STALE, OTHER, RIGHT, {("altered", "journal"), ("altered", "websocket")}),
        (STALE, RIGHT, None, {("altered", "journal"), ("missing", "supabase")}),
        # Checksums beside the right content.
        (CHECKSUM, RIGHT, RIGHT, {("stale_hash", "journal")}),
        (RIGHT, RIGHT, CHECKSUM, {("stale_hash", "supabase")}),
        (
            STALE,
            STALE,
            STALE,
            {("stale_hash", "journal"), ("stale_hash", "websocket"), ("stale_hash", "supabase")},
        ),
        # Absent.
        (None, RIGHT, RIGHT, {("missing", "journal")}),
        (RIGHT, None, RIGHT, {("missing", "websocket")}),
        (RIGHT, RIGHT, None, {("missing", "supabase")}),
        (RIGHT, None, None, {("missing", "websocket"), ("missing", "supabase")}),
        (
            None,
            None,
            None,
            {("missing", "journal"), ("missing", "websocket"), ("missing", "supabase")},
        ),
        (None, RIGHT, FORGED, {("missing", "journal"), ("altered", "supabase")}),
        (None, STALE, RIGHT, {("missing", "journal"), ("altered", "websocket")}),
    ],
)
def test_three_stores(
    journal: Event | None,
    websocket: Event | None,
    supabase: Event | None,
    found: set[tuple[str, str]],
) -> None:
    assert judge(journal, websocket, supabase) == found


@pytest.mark.parametrize(
    ("journal", "websocket", "found"),
    [
        (RIGHT, STALE, {("altered", "websocket")}),
        (STALE, RIGHT, {("altered", "journal")}),
        (FORGED, RIGHT, {("altered", "websocket")}),  # undecidable: the journal is believed
        (STALE, STALE, {("stale_hash", "journal"), ("stale_hash", "websocket")}),
    ],
)
def test_two_stores(journal: Event, websocket: Event, found: set[tuple[str, str]]) -> None:
    assert judge(journal, websocket, None, routed=False) == found


def test_not_covered_is_not_known_to_be_lost() -> None:
    assert judge(RIGHT, None, RIGHT, covered=False) == {("uncovered", "websocket")}
    assert judge(RIGHT, RIGHT, None, covered=False) == {("missing", "supabase")}


def test_what_is_still_owed_is_late_whether_covered_or_not() -> None:
    for covered in (True, False):
        assert judge(RIGHT, None, None, owed=True, covered=covered) == {
            ("late", "websocket"),
            ("late", "supabase"),
        }
    # What is there is held against the rest all the same; what nobody holds is missing.
    assert judge(RIGHT, STALE, None, owed=True) == {("altered", "websocket"), ("late", "supabase")}
    assert judge(None, None, None, owed=True) == {
        ("missing", "journal"), ("missing", "websocket"), ("missing", "supabase"),
    }  # fmt: skip


def test_the_databases_own_hash_is_held_against_the_content() -> None:
    facts = JournalStream(
        stream=WHERE, category="critical", floor=1, head=1, held=1, watermark=1,
        owed={"supabase": ((1, 1),)},
    )  # fmt: skip
    findings = classify(
        Block(WHERE, 0, 1, 1),
        facts,
        {"journal": [row(RIGHT)], "supabase": [row(RIGHT, stored=RIGHT.hash + 1)]},
        covered=lambda at_us: True,
        exact=(),
    )
    (one,) = findings.discrepancies
    assert (one.kind, one.store, one.severity) == (Kind.STALE_HASH, "supabase", "warning")


def test_repeated_deliveries_and_a_copy_that_differs() -> None:
    facts = JournalStream(
        stream=WHERE, category="critical", floor=1, head=1, held=1, watermark=1,
        owed={"websocket": ((1, 1),)},
    )  # fmt: skip
    findings = classify(
        Block(WHERE, 0, 1, 1),
        facts,
        {"journal": [row(RIGHT)], "websocket": [row(RIGHT), row(RIGHT), row(STALE)]},
        covered=lambda at_us: True,
        exact=("critical",),
    )
    assert [(one.kind, one.detail.split(";")[0]) for one in findings.discrepancies] == [
        (Kind.DUPLICATED, "delivered 3 times"),
        (Kind.ALTERED, "data: not as in journal"),
    ]
    assert findings.held["websocket"].count == 1


def test_the_fields_that_differ() -> None:
    changed = RIGHT._replace(id="x", type="y", time_us=0, subject="z", category="c", data="{}")
    assert differing_fields(changed, RIGHT) == [
        "id", "type", "time", "subject", "category", "data",
    ]  # fmt: skip
    assert differing_fields(RIGHT, RIGHT) == []


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('{"a":1,"b":2}', '{ "b": 2, "a": 1.0 }', True),
        ('{"a":"é"}', '{"a":"\\u00e9"}', True),
        ('{"a":1e3}', '{"a":1000}', True),
        ('{"a":"é"}', '{"a":"e\u0301"}', False),
        ('{"a":9007199254740993}', '{"a":9007199254740992}', False),
        ('{"a":1}', '{"a":1,"a":1}', False),
        ('{"a":1}', "no JSON", False),
        ('{"a":1}', '{"a":NaN}', False),
    ],
)
def test_reserialised_is_the_same_value_in_other_letters(one: str, other: str, same: bool) -> None:
    found = differing_fields(RIGHT._replace(data=one), RIGHT._replace(data=other))
    assert found == ["data (reserialised)" if same else "data"]


def test_phantoms_say_where_the_journal_ends() -> None:
    assert phantom(row(RIGHT), "supabase", 0, ()).detail == "the journal's stream ends at 0"
    one = phantom(row(RIGHT), "supabase", None, ("critical",))
    assert (one.detail, one.severity) == ("the journal knows no such stream", "critical")
