"""Reading a recording: per transport, duplicates apart, in order of arrival."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossfade.adapters.recording_sqlite import Recording
from crossfade.adapters.stores import TapReader
from crossfade.core.digest import digest_of, merge
from crossfade.core.reconciliation_plan import Extent, Range
from crossfade.errors import StoreRejected, StoreUnavailable
from crossfade.ports import RecordingReader
from tests.reconciliation_data import NOW_US, World, make_event, stream

LOST = stream("critical", 3)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


def reader(world: World, transport: str = "websocket") -> TapReader:
    return TapReader(world.folder / "tap.db", transport)


def test_it_reads_what_the_tap_wrote(tmp_path: Path) -> None:
    events = [make_event(LOST, sequence) for sequence in (1, 2, 3)]
    with Recording(tmp_path / "tap.db", commit_s=0.01) as recording:
        recording.record("websocket", events, 5)
        recording.record("realtime", events[:1], 6)
        recording.cover("websocket", 1, 9)
    opened: RecordingReader = TapReader(tmp_path / "tap.db", "websocket")
    assert [row.event for row in opened.rows(LOST, 1, 9)] == events[::-1]
    assert opened.streams() == [Extent(LOST, 1, 3)]
    assert opened.coverage() == ((1, 9),)
    opened.close()
    other = TapReader(tmp_path / "tap.db", "realtime")
    assert other.streams() == [Extent(LOST, 1, 1)]
    assert other.coverage() == ()
    other.close()


def test_an_index_serves_the_ranges(world: World) -> None:
    """Without it every block would read the whole recording."""
    plan = world.tap.execute(
        "EXPLAIN QUERY PLAN SELECT arrival FROM deliveries WHERE transport = 'websocket' "
        "AND stream_id = 1 AND sequence BETWEEN 1 AND 9 ORDER BY sequence DESC, arrival"
    ).fetchall()
    assert "USING" in plan[0][3]
    assert "INDEX deliveries_by_stream (transport=? AND stream_id=? AND sequence>?" in plan[0][3]


def test_repeated_deliveries_are_kept_apart(world: World) -> None:
    events = world.publish(LOST, 10, to=("websocket",))
    world.deliver(events[3], ["websocket"])
    world.deliver(events[3]._replace(data="{}"), ["websocket"])
    opened = reader(world)
    (one, other) = (digest for _, digest in opened.digests([Range(LOST, 1, 10)], 8))
    whole = merge(one, other)
    assert (whole.events, whole.repeated, whole.stale) == (10, 2, 1)
    assert whole.total == digest_of(0, ((e.sequence, e.hash) for e in events)).total
    rows = [row.event.data for row in opened.rows(LOST, 4, 4)]
    assert rows == [events[3].data, events[3].data, "{}"]
    opened.close()


@pytest.mark.parametrize(
    ("arrivals", "late"),
    [
        ([1, 2, 3, 4, 5], []),
        ([1, 3, 2, 4, 5], [2]),
        ([1, 2, 4, 5, 3], [3]),
        ([5, 1, 2, 3, 4], [1, 2, 3, 4]),
        ([1, 2, 3, 2, 4, 5], []),  # delivered again, which is not late
        ([2, 1, 1, 3], [1]),
        ([5, 4, 3, 2, 1], [1, 2, 3, 4]),
    ],
)
@pytest.mark.parametrize("first", [1, 2, 3, 4, 5])
def test_an_event_is_out_of_order_after_a_later_one(
    world: World, arrivals: list[int], late: list[int], first: int
) -> None:
    """RFC 4737's reordered; whatever part of the stream is read, and in whatever blocks."""
    for sequence in arrivals:
        world.deliver(make_event(LOST, sequence), ["websocket", "realtime"])
    opened = reader(world)
    for last in range(first, 6):
        rows = opened.rows(LOST, first, last)
        found = {row.event.sequence for row in rows if row.disordered}
        assert found == {sequence for sequence in late if first <= sequence <= last}
    digests = [digest for _, digest in opened.digests([Range(LOST, 1, 5)], 2)]
    assert sum(digest.disordered for digest in digests) == len(late)
    opened.close()
    live = reader(world, "realtime")  # which promises no order
    assert not any(row.disordered for row in live.rows(LOST, 1, 5))
    live.close()


def test_blocks_are_folded_whole(world: World) -> None:
    events = world.publish(LOST, 20, to=("websocket",))
    opened = reader(world)
    digests = {digest.block: digest for _, digest in opened.digests([Range(LOST, 3, 18)], 8)}
    assert digests == {
        block: digest_of(
            block,
            ((e.sequence, e.hash) for e in events[2:18] if (e.sequence - 1) // 8 == block),
        )
        for block in (0, 1, 2)
    }
    opened.close()


def test_coverage_ascends(world: World) -> None:
    world.cover("websocket", NOW_US + 5, NOW_US + 9)
    world.cover("websocket", NOW_US + 1, NOW_US + 2)
    opened = reader(world)
    assert opened.coverage() == ((0, NOW_US), (NOW_US + 1, NOW_US + 2), (NOW_US + 5, NOW_US + 9))
    opened.close()


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"none\.db: no such file"):
        TapReader(tmp_path / "none.db", "websocket")
    (tmp_path / "text.db").write_text("just some text that is no database at all" * 9)
    with pytest.raises(StoreUnavailable, match=r"text\.db"):
        TapReader(tmp_path / "text.db", "websocket")
    for version, said in ((0, "no recording of a tap"), (99, "recording of version 99")):
        other = sqlite3.connect(tmp_path / f"{version}.db")
        other.execute(f"PRAGMA user_version = {version}")
        other.execute("CREATE TABLE something (x)")
        other.close()
        with pytest.raises(StoreRejected, match=said):
            TapReader(tmp_path / f"{version}.db", "websocket")


def test_new_deliveries_are_told_without_reading_the_old(world: World) -> None:
    """An incremental check asks for them each time, however long the recording is."""
    for event in world.publish(LOST, 3_000, to=("websocket",))[-4:]:
        world.deliver(event, ["websocket"])
    opened = reader(world)
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    try:
        opened._connection.set_progress_handler(count, 10)
        told = opened.changes("0:3000")
    finally:
        opened.close()
    assert told == ("0:3004", (Range(LOST, 2_997, 3_000),))
    assert steps < 100  # of ten instructions; some 3,000 when every delivery is looked at
