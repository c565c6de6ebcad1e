"""``crossfade_ingest_v1``: what is stored, skipped, in conflict, refused."""

import json
import threading
from typing import Any

import psycopg
import pytest

from crossfade.core.event import content_hash, hash_to_hex, to_wire
from tests.contract.events import make_event, make_events
from tests.integration.schema.database import Database

pytestmark = pytest.mark.xdist_group("schema")  # one set of services


def test_altering_a_row_changes_its_hash_but_not_its_checksum(database: Database) -> None:
    event = make_event(1)
    database.ingest([event])
    database.connection.execute("update crossfade.events set data = '{}'")
    row = database.connection.execute("select hash, checksum from crossfade.events").fetchone()
    assert row == (content_hash(event._replace(data="{}")), event.hash)
    ((*_, stale),) = database.call(
        "crossfade_digests_v1", ranges=[[*event.stream, 1, 1]], block=256
    )
    assert stale == 1


def test_repeating_a_batch_skips_it(database: Database) -> None:
    events = make_events(1, 20)
    assert database.ingest(events)["inserted"] == 20
    again = database.ingest([*events, make_event(21)])
    assert (again["inserted"], again["skipped"], again["conflicts"]) == (1, 20, [])
    assert [len(frame[2]["events"]) for frame in database.frames()] == [20, 1]


def test_conflicts_are_reported_kept_and_do_not_stop_the_rest(database: Database) -> None:
    first, second = make_event(1), make_event(2)
    database.ingest([first, second])
    altered = make_event(1, data='{"n":"other"}', id="another-id")
    namesake = make_event(9, id=second.id)
    answer = database.ingest([altered, namesake, make_event(3)])
    assert (answer["inserted"], answer["skipped"]) == (1, 0)
    assert [
        (one["sequence"], one["reason"], one["stored"], one["offered"])
        for one in answer["conflicts"]
    ] == [
        (1, "position", hash_to_hex(first.hash), hash_to_hex(altered.hash)),
        (9, "id", hash_to_hex(second.hash), hash_to_hex(namesake.hash)),
    ]
    assert database.one("select data from crossfade.events where sequence = 1") == first.data
    # Repeating it adds no second dead letter.
    database.ingest([altered, namesake])
    letters = database.connection.execute(
        "select reason, sequence, data from crossfade.dead_letters order by sequence"
    ).fetchall()
    assert letters == [("position", 1, altered.data), ("id", 9, namesake.data)]


def test_twins_in_one_batch(database: Database) -> None:
    event = make_event(1)
    answer = database.ingest([event, event, make_event(1, data="[]", id="other")])
    assert (answer["inserted"], answer["skipped"], len(answer["conflicts"])) == (1, 1, 1)


def test_a_checksum_that_lies_is_stored_and_told(database: Database) -> None:
    event = make_event(1)._replace(hash=7)
    answer = database.ingest([event])
    assert answer["inserted"] == 1
    assert answer["warnings"] == ["1 events do not have the content that their hash says"]


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({"hash": "zz"}, "22P02"),
        ({"hash": "g" * 16}, "22P02"),
        ({"time": "yesterday-ish"}, "22007"),
        ({"sequence": 0}, "23514"),
        ({"partition": -1}, "23514"),
        ({"id": None}, "23502"),
        ({"data": None}, "23502"),
        ({"source": ""}, "23514"),
    ],
)
def test_a_bad_event_fails_the_batch_as_a_fault_of_the_data(
    database: Database, change: dict[str, Any], state: str
) -> None:
    batch = [to_wire(make_event(1)), {**to_wire(make_event(2)), **change}]
    with pytest.raises(psycopg.Error) as raised:
        database.call("crossfade_ingest_v1", batch=batch)
    assert raised.value.sqlstate == state
    assert database.one("select count(*) from crossfade.events") == 0
    assert database.frames() == []


def test_limits_of_a_call(database: Database) -> None:
    row = to_wire(make_event(1))
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="at most 5000 events"):
        database.call("crossfade_ingest_v1", batch=[row] * 5_001)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="array of events"):
        database.connection.execute("select public.crossfade_ingest_v1('{}')")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="at least 1000"):
        database.call("crossfade_ingest_v1", batch=[row], frame_limit_bytes=10)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="10000 rows"):
        database.call("crossfade_heads_v1", heads=[["a", 1, "b", 0, 1, 1]] * 10_001)


def test_two_callers_with_the_same_batch(database: Database) -> None:
    """The second waits for the first and then sees its rows: nothing is doubled or lost."""
    events = make_events(1, 50)
    answers: list[Any] = []

    def repeat() -> None:
        with Database(database.url) as other:
            answers.append(other.ingest(events))

    with database.connection.transaction():
        database.connection.execute(
            "select public.crossfade_ingest_v1(%s)", (json.dumps([to_wire(e) for e in events]),)
        )
        thread = threading.Thread(target=repeat)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive(), "it did not wait"
    thread.join(10)
    assert [(a["inserted"], a["skipped"], a["conflicts"]) for a in answers] == [(0, 50, [])]
    assert database.one("select count(*) from crossfade.events") == 50
