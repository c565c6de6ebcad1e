"""``crossfade_retain_v1``: the lowest, old, unneeded events go, without a hole."""

from typing import Any

import psycopg
import pytest

from tests.contract.events import make_events
from tests.integration.schema.database import Database

pytestmark = pytest.mark.xdist_group("schema")  # one set of services

STREAM = ["app", 1, "critical", 0]


@pytest.fixture
def held(database: Database) -> Database:
    """Events 1 to 20; those up to 15 are a day old; the journal holds from 13 on."""
    database.ingest(make_events(1, 20), live=False)
    database.call("crossfade_heads_v1", heads=[[*STREAM, 20, 13]], live=False)
    database.connection.execute(
        "update crossfade.events set inserted_at = now() - interval '1 day' where sequence <= 15"
    )
    return database


def retain(database: Database, floor: int, *, stream: Any = STREAM, **options: Any) -> Any:
    before = options.pop("before", "now() - interval '1 hour'")
    moment = database.one(f"select ({before})::text")
    return database.call("crossfade_retain_v1", floors=[[*stream, floor]], before=moment, **options)


def sequences(database: Database) -> list[int]:
    rows = database.connection.execute("select sequence from crossfade.events order by 1")
    return [number for (number,) in rows.fetchall()]


def test_never_above_what_the_caller_says(held: Database) -> None:
    assert retain(held, 6) == {"deleted": 5, "more": False, "floors": [[*STREAM, 6]]}
    assert sequences(held) == list(range(6, 21))
    page = held.call(
        "crossfade_fill_v1", source="app", epoch=1, topic="critical", partition=0, first=1, last=9
    )
    assert (page["floor"], page["head"]) == (6, 20)
    assert retain(held, 6) == {"deleted": 0, "more": False, "floors": []}


def test_never_what_the_journal_still_holds(held: Database) -> None:
    assert retain(held, 100)["deleted"] == 12
    assert sequences(held)[0] == 13


def test_a_stream_without_a_head_is_left_alone(held: Database) -> None:
    held.connection.execute("delete from crossfade.heads")
    assert retain(held, 100)["deleted"] == 0


def test_other_streams_are_left_alone(held: Database) -> None:
    assert retain(held, 100, stream=["app", 2, "critical", 0])["deleted"] == 0
    assert retain(held, 100, stream=["app", 1, "critical", 1])["deleted"] == 0
    assert len(sequences(held)) == 20


def test_never_a_young_event_and_nothing_above_it(held: Database) -> None:
    """A hole would make the floor a lie: what is above it must all be held."""
    held.connection.execute("update crossfade.events set inserted_at = now() where sequence = 4")
    assert retain(held, 100)["floors"] == [[*STREAM, 4]]
    assert sequences(held) == list(range(4, 21))


def test_never_the_newest_event(held: Database) -> None:
    held.call("crossfade_heads_v1", heads=[[*STREAM, 20, 21]], live=False)
    held.connection.execute("update crossfade.events set inserted_at = '2020-01-01'")
    assert retain(held, 100)["deleted"] == 19
    assert sequences(held) == [20]


def test_a_call_has_a_limit_and_says_that_there_is_more(held: Database) -> None:
    other = ["app", 1, "critical", 1]
    held.ingest(make_events(1, 9, partition=1), live=False)
    held.call("crossfade_heads_v1", heads=[[*other, 9, 9]], live=False)
    held.connection.execute("update crossfade.events set inserted_at = '2020-01-01'")
    floors = [[*STREAM, 100], [*other, 100]]
    told = []
    for _ in range(6):
        answer = held.call("crossfade_retain_v1", floors=floors, before="2021-01-01", at_most=4)
        told.append((answer["deleted"], answer["more"]))
    assert told == [(4, True), (4, True), (4, True), (4, True), (4, False), (0, False)]


def test_at_the_limit_a_young_event_is_no_more(held: Database) -> None:
    assert retain(held, 13, at_most=12)["more"] is False
    held.connection.execute("update crossfade.events set inserted_at = now()")
    assert retain(held, 13, at_most=1) == {"deleted": 0, "more": False, "floors": []}


@pytest.mark.parametrize(
    ("floors", "before", "at_most", "words"),
    [
        ({}, "2020-01-01", 1, "floors must be"),
        ([], "2999-01-01", 1, "in the past"),
        ([], None, 1, "in the past"),
        ([], "2020-01-01", 0, "at_most"),
        ([], "2020-01-01", 50_001, "at_most"),
    ],
)
def test_wrong_requests(
    database: Database, floors: Any, before: Any, at_most: int, words: str
) -> None:
    if floors == {}:
        floors = "{}"
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=words):
        database.call("crossfade_retain_v1", floors=floors, before=before, at_most=at_most)
