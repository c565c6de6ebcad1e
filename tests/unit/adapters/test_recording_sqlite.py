"""The tap's recording, as a file."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from crossfade.adapters.recording_sqlite import Recording
from crossfade.adapters.stores.tap import TapReader
from crossfade.core.event import Event, Stream, content_hash
from crossfade.core.reconciliation_plan import Range
from crossfade.errors import JournalTooNew, JournalUnavailable


def make_event(sequence: int, partition: int = 0) -> Event:
    event = Event(
        f"e{partition}-{sequence}", "app", "t", sequence, "k", "system", "system", partition, 1,
        sequence, '{"a":1}', 0,
    )  # fmt: skip
    return event._replace(hash=content_hash(event))


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def wait_for(condition: object, timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_deliveries_are_kept_as_they_came(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "tap.db"
    altered = make_event(2)._replace(data='{"a":2}')
    with Recording(path, 0.02) as recording:
        recording.record("websocket", [make_event(2), make_event(1)], 100)
        recording.record("realtime", [altered], 101)
        recording.record("websocket", [make_event(2)], 102)
    found = rows(
        path,
        "SELECT arrival, transport, sequence, data, checksum, received_us FROM deliveries "
        "ORDER BY arrival",
    )
    assert found == [
        (1, "websocket", 2, '{"a":1}', make_event(2).hash, 100),
        (2, "websocket", 1, '{"a":1}', make_event(1).hash, 100),
        (3, "realtime", 2, '{"a":2}', make_event(2).hash, 101),
        (4, "websocket", 2, '{"a":1}', make_event(2).hash, 102),
    ]


def test_the_reconciliation_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "tap.db"
    with Recording(path, 0.02) as recording:
        recording.record("websocket", [make_event(n) for n in range(1, 6)], 100)
        recording.cover("websocket", 90, 110)
        recording.cover("websocket", 90, 120)
        recording.cover("websocket", 200, 210)
    with closing(TapReader(path, "websocket")) as reader:
        assert list(reader.coverage()) == [(90, 120), (200, 210)]
        ((stream, low, high),) = reader.streams()
        assert (stream, low, high) == (Stream("app", 1, "system", 0), 1, 5)


def test_positions_come_from_the_websocket_side_alone(tmp_path: Path) -> None:
    path = tmp_path / "tap.db"
    with Recording(path, 0.02) as recording:
        recording.record("websocket", [make_event(n) for n in (1, 2, 4)], 100)
        recording.record("realtime", [make_event(n) for n in range(1, 9)], 100)
        recording.record("realtime", [make_event(1, partition=5)], 100)
    with Recording(path, 0.02) as recording:
        assert recording.positions() == {Stream("app", 1, "system", 0): 5}
        recording.record("websocket", [make_event(5), make_event(1, partition=5)], 300)
    assert rows(path, "SELECT count(*) FROM streams") == [(2,)]
    assert rows(path, "SELECT count(*) FROM deliveries") == [(14,)]


def test_a_hole_that_was_open_is_open_again(tmp_path: Path) -> None:
    path = tmp_path / "tap.db"
    stream, other = Stream("app", 1, "system", 0), Stream("app", 1, "system", 7)
    with Recording(path, 0.02) as recording:
        recording.record("websocket", [make_event(n) for n in (1, 2, 4)], 100, {stream: 3})
        recording.record("realtime", [make_event(3)], 100)
        recording.record("websocket", [make_event(5)], 101, {stream: 3})
        recording.record("websocket", [make_event(1, 7)], 102, {other: 2})
    with Recording(path, 0.02) as recording:
        assert recording.positions() == {stream: 3, other: 2}
        assert recording.ends() == {stream: 6, other: 2}
        assert recording.beyond(9) == [make_event(4), make_event(5)]
        assert recording.beyond(1) == [make_event(4)]
        # Given up: nothing was recorded, and the position moves all the same.
        recording.record("websocket", [], 103, {stream: 6})
    with Recording(path, 0.02) as recording:
        assert recording.positions() == {stream: 6, other: 2}
        assert recording.beyond(9) == []


def test_a_disk_that_fails_delays_and_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tap.db"
    with Recording(path, 0.02) as recording:
        recording.record("websocket", [make_event(1)], 100)
        wait_for(lambda: recording.recorded == 1)
        with closing(sqlite3.connect(path)) as other:
            other.execute("ALTER TABLE deliveries RENAME TO aside")
            other.commit()
            recording.record("websocket", [make_event(2)], 101, {make_event(2).stream: 3})
            recording.cover("websocket", 90, 101)
            recording.record("websocket", [make_event(1, partition=7)], 102)
            wait_for(lambda: "nothing is recorded for now" in caplog.text)
            assert recording.waiting >= 1
            other.execute("ALTER TABLE aside RENAME TO deliveries")
            other.commit()
        wait_for(lambda: recording.recorded == 3)
        assert recording.waiting == 0
    assert rows(path, "SELECT sequence FROM deliveries ORDER BY arrival") == [(1,), (2,), (1,)]
    assert rows(path, "SELECT from_us, to_us FROM coverage") == [(90, 101)]
    assert rows(path, "SELECT next FROM positions") == [(3,)], "kept over the failure"
    assert caplog.text.count("nothing is recorded for now") == 1
    assert rows(path, "SELECT count(*) FROM deliveries JOIN streams USING (stream_id)") == [(3,)]


def test_a_later_version_is_refused_and_a_broken_file_said(tmp_path: Path) -> None:
    path = tmp_path / "tap.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(JournalTooNew, match="version 2, this side writes 1"):
        Recording(path, 0.02).__enter__()
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database at all, but long enough to look at" * 100)
    with pytest.raises(JournalUnavailable, match=r"broken.db: file is not a database"):
        Recording(broken, 0.02).__enter__()


def test_a_stream_that_begins_while_changes_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tap.db"
    with Recording(path, 0.02) as recording:
        recording.record("websocket", [make_event(1)], 100)
    reader = TapReader(path, "websocket")
    mark = reader.changes("").mark
    read = TapReader._stream_ids

    def overtaken(self: TapReader) -> dict[Stream, int]:
        found = read(self)
        monkeypatch.setattr(TapReader, "_stream_ids", read)
        with Recording(path, 0.02) as recording:
            recording.record("websocket", [make_event(1, partition=5)], 101)
        return found

    monkeypatch.setattr(TapReader, "_stream_ids", overtaken)
    told: list[Range] = []
    for _ in range(2):
        changes = reader.changes(mark)
        told += changes.ranges or ()
        mark = changes.mark
    assert {(one.stream.partition, one.first, one.last) for one in told} == {(5, 1, 1)}
    reader.close()
