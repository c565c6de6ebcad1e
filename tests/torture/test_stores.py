"""The checker of the crash matrix must see what it is there for."""

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from crossfade.core.event import Event, content_hash
from tests.torture.effects import Effects
from tests.torture.stores import Case, check

COUNT = 4
JOURNAL, TAP, EFFECTS = "journal", "tap", "effects"


def event(number: int) -> Event:
    made = Event(
        f"id-{number}", "app", "made", 1_000_000 + number, "key", "critical", "critical", 2, 1,
        number, f'{{"n":{number},"text":""}}', 0,
    )  # fmt: skip
    return made._replace(hash=content_hash(made))


@pytest.fixture
def case(tmp_path: Path, database_url: str) -> Case:
    """Four events, the same in every store."""
    paths = {name: tmp_path / f"{name}.db" for name in (JOURNAL, TAP, EFFECTS)}
    events = [event(number) for number in range(1, COUNT + 1)]
    with closing(sqlite3.connect(paths[JOURNAL], isolation_level=None)) as journal:
        journal.executescript(
            "CREATE TABLE streams (stream_id, source, epoch, topic, partition, head, floor);"
            "CREATE TABLE events (stream_id, sequence, id, type, time_us, subject, category, data,"
            " checksum, committed_us);"
            "CREATE TABLE cursors (sink, stream_id, next);"
            "CREATE TABLE parked (sink, stream_id, sequence, reason, at_us);"
            f"INSERT INTO streams VALUES (1, 'app', 1, 'critical', 2, {COUNT}, 1);"
            f"INSERT INTO cursors VALUES ('websocket', 1, {COUNT + 1});"
        )
        journal.executemany(
            "INSERT INTO events VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
            [
                (e.sequence, e.id, e.type, e.time_us, e.subject, e.category, e.data, e.hash)
                for e in events
            ],
        )
    with closing(sqlite3.connect(paths[TAP], isolation_level=None)) as tap:
        tap.executescript(
            "CREATE TABLE streams (stream_id, source, epoch, topic, partition);"
            "CREATE TABLE deliveries (arrival INTEGER PRIMARY KEY, transport, stream_id, sequence,"
            " id, type, time_us, subject, category, data, checksum, received_us);"
            "INSERT INTO streams VALUES (1, 'app', 1, 'critical', 2);"
        )
        tap.executemany(
            "INSERT INTO deliveries VALUES (NULL, 'websocket', 1, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
            [
                (e.sequence, e.id, e.type, e.time_us, e.subject, e.category, e.data, e.hash)
                for e in events
            ],
        )
    effects = Effects(paths[EFFECTS])
    for one in events:
        effects.add(one, together=True)
    effects.close()
    with psycopg.connect(database_url, autocommit=True) as connection, connection.cursor() as run:
        run.executemany(
            "insert into crossfade.events (source, epoch, topic, partition, sequence, id, type,"
            " time, subject, category, data, checksum) values (%s, %s, %s, %s, %s, %s, %s,"
            " to_timestamp(0) + %s * interval '1 microsecond', %s, %s, %s, %s)",
            [
                (
                    *e.stream,
                    e.sequence,
                    e.id,
                    e.type,
                    e.time_us,
                    e.subject,
                    e.category,
                    e.data,
                    e.hash,
                )
                for e in events
            ],
        )
    return Case(
        source="app",
        given={one.id: one.sequence for one in events},
        acknowledged=frozenset({"id-1"}),
        journal=paths[JOURNAL],
        tap=paths[TAP],
        database_url=database_url,
        effects=paths[EFFECTS],
    )


def sqlite(case: Case, name: str, statement: str) -> None:
    path = {JOURNAL: case.journal, TAP: case.tap, EFFECTS: case.effects}[name]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute(statement).rowcount, "the statement must change something"


def supabase(case: Case, statement: str) -> None:
    with psycopg.connect(case.database_url, autocommit=True) as connection:
        connection.execute("set session_replication_role = replica")
        assert connection.execute(statement).rowcount


def test_equal_stores_have_no_findings(case: Case) -> None:
    assert check(case) == []


_LAST = f"DELETE FROM events WHERE sequence = {COUNT}"
_SWAP = "UPDATE effects SET number = CASE number WHEN 2 THEN -1 ELSE number END"


@pytest.mark.parametrize(
    ("name", "statement", "told"),
    [
        (JOURNAL, "DELETE FROM events WHERE sequence = 1", "acknowledged events are gone"),
        (JOURNAL, _LAST, "journal: 1 events are missing"),
        (JOURNAL, "UPDATE events SET sequence = 9 WHERE sequence = 4", "is not 1"),
        (JOURNAL, "UPDATE events SET checksum = 7 WHERE sequence = 2", "the hash of"),
        (JOURNAL, "UPDATE events SET id = 'id-1' WHERE sequence = 2", "journal: doubled"),
        (JOURNAL, "UPDATE events SET id = 'x' WHERE sequence = 2", "nobody published x"),
        (JOURNAL, "UPDATE events SET data = '{}' WHERE sequence = 2", "another content"),
        (JOURNAL, "UPDATE cursors SET next = 3", "is at 3 of 4"),
        (JOURNAL, "INSERT INTO parked VALUES ('supabase', 1, 2, 'why', 0)", "parked"),
        (TAP, "DELETE FROM deliveries WHERE sequence = 2", "websocket: 1 missing"),
        (TAP, "UPDATE deliveries SET sequence = 1 WHERE sequence = 2", "websocket: 1 doubled"),
        (TAP, "UPDATE deliveries SET sequence = 9 WHERE sequence = 2", "should not have"),
        (TAP, "UPDATE deliveries SET data = '{}' WHERE sequence = 2", "websocket: 1 altered"),
        (EFFECTS, "DELETE FROM effects WHERE sequence = 4", "subscriber: 1 missing"),
        (EFFECTS, "UPDATE effects SET sequence = 1 WHERE sequence = 2", "subscriber: 1 doubled"),
        (EFFECTS, _SWAP, "was handed over, 1 was due"),
    ],
)
def test_a_fault_in_a_file_is_found(case: Case, name: str, statement: str, told: str) -> None:
    sqlite(case, name, statement)
    assert any(told in finding for finding in check(case)), check(case)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("delete from crossfade.events where sequence = 3", "supabase: 1 missing"),
        ("update crossfade.events set sequence = 9 where sequence = 3", "should not have"),
        ("update crossfade.events set data = '{}' where sequence = 3", "supabase: 1 altered"),
    ],
)
def test_a_fault_in_the_table_is_found(case: Case, statement: str, told: str) -> None:
    supabase(case, statement)
    assert any(told in finding for finding in check(case)), check(case)


def test_a_poisoned_event_is_parked_and_not_in_the_table(case: Case) -> None:
    poisoned = case._replace(poison=frozenset({"id-2"}))
    assert [one.split(":")[0] for one in check(poisoned)] == ["parked", "supabase"]
    sqlite(case, JOURNAL, "INSERT INTO parked VALUES ('supabase', 1, 2, 'why', 0)")
    supabase(case, "delete from crossfade.events where sequence = 2")
    assert check(poisoned) == []


def test_a_pruned_journal_may_lack_what_is_below_its_floor_only(case: Case) -> None:
    pruned = case._replace(pruned=True)
    assert check(pruned) == ["journal: nothing was pruned"]
    sqlite(case, JOURNAL, "UPDATE streams SET floor = 3")
    sqlite(case, JOURNAL, "DELETE FROM events WHERE sequence < 3")
    assert check(pruned) == []
    sqlite(case, JOURNAL, "DELETE FROM events WHERE sequence = 3")
    assert any("gone above the floor" in finding for finding in check(pruned))


def test_repetitions_are_allowed_only_where_they_are_promised(case: Case) -> None:
    sqlite(
        case,
        EFFECTS,
        "INSERT INTO effects SELECT NULL, source, epoch, topic, partition, sequence, id, type, "
        "time_us, subject, category, data, checksum FROM effects WHERE sequence > 2",
    )
    assert any("doubled" in finding for finding in check(case))
    assert check(case._replace(may_repeat=frozenset({"subscriber"}))) == []
