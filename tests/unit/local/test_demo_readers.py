"""The readers over stores that are written here as the protocol page says they are."""

import gzip
import sqlite3
from pathlib import Path

import pytest

from crossfade.core.event import Event, content_hash
from crossfade.errors import InvalidEvent, JournalUnavailable
from crossfade.local.demo_owed import backlog, drained, event_count, owed
from crossfade.local.demo_readers import (
    read_input,
    read_journal,
    read_recording,
    read_tap,
    routed_ids,
)
from crossfade.local.recording import LineCount, Recorder

JOURNAL = """
create table streams (stream_id integer primary key, source text, epoch integer, topic text,
  partition integer, head integer, floor integer, unique (source, epoch, topic, partition));
create table events (stream_id integer, sequence integer, id text unique, type text,
  time_us integer, subject text, category text, data text, checksum integer,
  committed_us integer, primary key (stream_id, sequence)) without rowid;
create table cursors (sink text, stream_id integer, next integer, primary key (sink, stream_id));
create table routes (sink text, stream_id integer, first integer, last integer,
  primary key (sink, stream_id, first));
"""
TAP = """
create table streams (stream_id integer primary key, source, epoch, topic, partition);
create table deliveries (arrival integer primary key, transport text, stream_id integer,
  sequence integer, id, type, time_us, subject, category, data, checksum, received_us);
"""


def event(sequence: int, partition: int = 0) -> Event:
    made = Event(
        id=f"id-{partition}-{sequence}",
        source="app",
        type="t",
        time_us=1_000_000 + sequence,
        subject="k",
        category="system",
        topic="system",
        partition=partition,
        epoch=1,
        sequence=sequence,
        data='{"n":1}',
        hash=0,
    )
    return made._replace(hash=content_hash(made))


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(JOURNAL)
        for partition, head in ((0, 5), (1, 3)):
            stream = partition + 1
            connection.execute(
                "insert into streams values (?, 'app', 1, 'system', ?, ?, 1)",
                (stream, partition, head),
            )
            for sequence in range(1, head + 1):
                one = event(sequence, partition)
                connection.execute(
                    "insert into events values (?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
                    (
                        *(stream, sequence, one.id, one.type, one.time_us, one.subject),
                        *(one.category, one.data, one.hash),
                    ),
                )
    connection.close()
    return path


def execute(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()


def test_the_journals_events_come_back_whole(journal: Path) -> None:
    wanted = [event(n, 0) for n in range(1, 6)] + [event(n, 1) for n in range(1, 4)]
    assert read_journal(journal) == wanted
    assert all(one.is_intact() for one in wanted)
    assert event_count(journal) == 8


def test_a_journal_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match=r"none\.db: can not be read"):
        read_journal(tmp_path / "none.db")


def test_the_taps_deliveries_come_in_order_of_arrival(tmp_path: Path) -> None:
    path = tmp_path / "tap.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(TAP)
        connection.execute("insert into streams values (1, 'app', 1, 'system', 0)")
        for arrival, (sequence, transport) in enumerate(
            [(2, "websocket"), (1, "websocket"), (1, "realtime"), (2, "websocket")]
        ):
            one = event(sequence)
            connection.execute(
                "insert into deliveries values (?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
                (
                    *(arrival, transport, sequence, one.id, one.type, one.time_us, one.subject),
                    *(one.category, one.data, one.hash),
                ),
            )
    connection.close()
    assert [one.sequence for one in read_tap(path, "websocket")] == [2, 1, 2]
    assert read_tap(path, "realtime") == [event(1)]


def test_what_is_owed_follows_routes_and_cursors(journal: Path) -> None:
    assert owed(journal, "supabase") == 0
    execute(journal, "insert into routes values ('supabase', 1, 2, 3), ('supabase', 1, 5, null)")
    execute(journal, "insert into routes values ('supabase', 2, 1, null), ('other', 2, 1, null)")
    # Of stream 1: 2, 3 and 5; of stream 2: 1 to 3.
    assert owed(journal, "supabase") == 6
    was_owed = backlog(journal, "supabase")
    assert was_owed == {1: 5, 2: 3}
    execute(journal, "insert into cursors values ('supabase', 1, 3), ('supabase', 2, 4)")
    assert owed(journal, "supabase") == 2
    assert not drained(journal, "supabase", was_owed)
    execute(journal, "update cursors set next = 6 where stream_id = 1")
    assert owed(journal, "supabase") == 0
    assert drained(journal, "supabase", was_owed)


def test_what_must_be_in_the_table_follows_routes_and_the_last_moment(journal: Path) -> None:
    execute(journal, "insert into routes values ('supabase', 1, 2, 3), ('supabase', 1, 5, null)")
    execute(journal, "insert into routes values ('other', 2, 1, null)")
    assert routed_ids(journal, "supabase", None) == {"id-0-2", "id-0-3", "id-0-5"}
    execute(journal, "update events set committed_us = 100 where stream_id = 2 and sequence = 3")
    assert routed_ids(journal, "supabase", 100) == {"id-0-2", "id-0-3", "id-0-5", "id-1-3"}
    assert routed_ids(journal, "supabase", 101) == {"id-0-2", "id-0-3", "id-0-5"}


def test_a_backlog_is_drained_though_more_came_meanwhile(journal: Path) -> None:
    execute(journal, "insert into routes values ('supabase', 1, 1, null)")
    was_owed = backlog(journal, "supabase")
    execute(journal, "insert into cursors values ('supabase', 1, 6)")
    execute(journal, "update streams set head = 9 where stream_id = 1")
    assert owed(journal, "supabase") == 4
    assert drained(journal, "supabase", was_owed)


def test_a_recording_comes_back_and_its_lines_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    count = LineCount(path)
    assert count.look() == 0
    with Recorder(path) as recorder:
        recorder.write([event(1), event(2)])
        assert count.look() == 2
        recorder.write([event(3)])
    with path.open("ab") as file:
        file.write(b'{"cut')
    assert count.look() == 3
    assert read_recording(path) == [event(1), event(2), event(3)]


def test_a_recording_that_is_spoilt_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    path.write_bytes(b"{}}\n")
    with pytest.raises(InvalidEvent, match="line 1"):
        read_recording(path)


def test_the_input_is_read_with_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl.gz"
    line = '{"id":"a","type":"t","time":"2013-01-01T00:00:00Z","key":"k","data":{"b":1.0,"a":2}}\n'
    path.write_bytes(gzip.compress((line + line.replace('"a",', '"z",')).encode()))
    first, second = read_input(path)
    assert (first.line, first.id, first.key, first.data) == (1, "a", "k", '{"a":2,"b":1}')
    assert (second.line, second.id) == (2, "z")
    assert len(read_input(path, limit=1)) == 1


def test_an_input_without_ids_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"type":"t","data":1}\n')
    with pytest.raises(InvalidEvent, match="line 1: no event"):
        read_input(path)
