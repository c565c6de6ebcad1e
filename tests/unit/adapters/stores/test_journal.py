"""Reading a journal: what its own writer wrote, and what was done to it since."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossfade.adapters.journal_sqlite import Journal
from crossfade.adapters.stores import SqliteJournalReader
from crossfade.core.digest import digest_of
from crossfade.core.event import Draft, content_hash
from crossfade.core.reconciliation_plan import Extent, Range
from crossfade.errors import JournalTooNew, JournalUnavailable
from crossfade.ports import JournalReader
from crossfade.settings import JournalSettings
from tests.reconciliation_data import NOW_US, SECOND_US, FakeClock, World, stream

LOST = stream("critical", 3)
QUIET = stream("system", 7)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


@pytest.fixture
def reader(world: World) -> Iterator[SqliteJournalReader]:
    opened = SqliteJournalReader(world.folder / "journal.db")
    yield opened
    opened.close()


async def test_it_reads_what_the_publishers_journal_wrote(tmp_path: Path) -> None:
    settings = JournalSettings(path=tmp_path / "j.db", durability="os", epoch=4)
    clock = FakeClock()
    routing = {
        "websocket": lambda topic, partition: True,
        "supabase": lambda topic, partition: partition == 3,
    }
    drafts = [
        Draft(f"id-{n}", "t", n, "key", "critical", "critical", 3 + n % 2, f'{{"n":{n}}}')
        for n in range(10)
    ]
    async with Journal(settings, source="app", routing=routing, clock=clock) as journal:
        written = await journal.append(drafts)
    reader: JournalReader = SqliteJournalReader(settings.path)
    outline = reader.outline(NOW_US + SECOND_US)
    assert outline.scope == {("app", 4)}
    first, second = outline.streams
    assert (first.stream, first.head, first.watermark, first.category) == (
        LOST._replace(epoch=4), 5, 5, "critical",
    )  # fmt: skip
    assert first.owed == {"websocket": ((1, 5),), "supabase": ((1, 5),)}
    assert second.owed == {"websocket": ((1, 5),), "supabase": ()}
    rows = [row for one in outline.streams for row in reader.rows(one.stream, 1, 5)]
    held = {row.event.position: row.event._replace(committed_us=0) for row in rows}
    assert held == {event.position: event._replace(committed_us=0) for event in written}
    assert all(row.is_intact and row.event.committed_us >= NOW_US for row in rows)
    reader.close()


def test_the_watermark_is_the_last_old_enough(world: World, reader: SqliteJournalReader) -> None:
    world.publish(LOST, 10, age_s=60.0)
    world.publish(LOST, 3, age_s=2.0)
    (facts,) = reader.outline(NOW_US - 5 * SECOND_US).streams
    assert (facts.floor, facts.watermark, facts.head, facts.held) == (1, 10, 13, 13)
    (facts,) = reader.outline(NOW_US).streams
    assert facts.watermark == 13
    (facts,) = reader.outline(0).streams
    assert facts.watermark == 0


def test_routes_are_joined_and_end_at_the_head(world: World, reader: SqliteJournalReader) -> None:
    world.publish(LOST, 20)
    world.route(LOST, 3, 5)
    world.route(LOST, 6, 8)
    world.route(LOST, 15)
    world.journal.execute("INSERT OR REPLACE INTO cursors VALUES ('supabase', 1, 9)")
    world.journal.execute("INSERT INTO parked VALUES ('supabase', 1, 4, 'why', 0)")
    world.journal.commit()
    (facts,) = reader.outline(NOW_US).streams
    assert facts.owed["supabase"] == ((3, 8), (15, 20))
    assert facts.next == {"supabase": 9, "websocket": 21}
    assert facts.parked == {4: "why"}


def test_the_first_sequence_since_a_moment(world: World, reader: SqliteJournalReader) -> None:
    world.publish(LOST, 37, age_s=600.0)
    world.publish(LOST, 5, age_s=60.0)
    world.publish(QUIET, 4, age_s=600.0)
    lost, quiet = reader.outline(NOW_US, NOW_US - 300 * SECOND_US).streams
    assert lost.owed["websocket"] == ((38, 42),)
    assert quiet.owed["websocket"] == ()


def test_extents_digests_and_rows_are_of_what_is_held(
    world: World, reader: SqliteJournalReader
) -> None:
    events = world.publish(LOST, 20)
    world.drop("journal", events[0])
    world.alter("journal", events[8], forged=False, data="{}")
    assert reader.streams() == [Extent(LOST, 2, 20)]
    rows = list(reader.rows(LOST, 1, 20))
    assert [row.event.sequence for row in rows] == list(range(2, 21))
    assert [row.event.sequence for row in rows if not row.is_intact] == [9]
    digests = sorted(digest for _, digest in reader.digests([Range(LOST, 1, 18)], 8))
    for digest, numbers in zip(digests, (range(2, 9), range(9, 17), range(17, 19)), strict=True):
        pairs = [(row.event.sequence, row.hash) for row in rows if row.event.sequence in numbers]
        expected = digest_of(digest.block, pairs)
        assert digest._replace(stale=0) == expected
        assert digest.stale == (9 in numbers)
    assert list(reader.rows(QUIET, 1, 9)) == list(reader.digests([Range(QUIET, 1, 9)], 8)) == []


def test_a_carried_checksum_is_never_taken_at_its_word(
    world: World, reader: SqliteJournalReader
) -> None:
    events = world.publish(LOST, 3)
    world.alter("journal", events[1], forged=False, subject="LGA")
    row = list(reader.rows(LOST, 1, 3))[1]
    assert row.event.hash == events[1].hash
    assert row.hash == content_hash(row.event) != row.event.hash


def test_streams_born_later_are_found(world: World, reader: SqliteJournalReader) -> None:
    assert reader.outline(NOW_US).streams == ()
    world.publish(LOST, 3)
    assert len(list(reader.rows(LOST, 1, 3))) == 3


def test_the_writer_may_go_on(world: World, reader: SqliteJournalReader) -> None:
    world.publish(LOST, 2_000)
    rows = reader.rows(LOST, 1, 2_000)
    next(rows)
    world.publish(LOST, 5)  # no lock is in its way
    assert sum(1 for _ in rows) == 1_999
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._connection.execute("DELETE FROM events")


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match=r"none\.db"):
        SqliteJournalReader(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("just some text")
    with pytest.raises(JournalUnavailable, match=r"text\.db"):
        SqliteJournalReader(tmp_path / "text.db")
    newer = sqlite3.connect(tmp_path / "newer.db")
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(JournalTooNew, match=r"newer\.db"):
        SqliteJournalReader(tmp_path / "newer.db")


def test_a_damaged_file_is_an_error_that_names_it(world: World) -> None:
    world.publish(LOST, 500)
    world.journal.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    world.journal.close()
    path = world.folder / "journal.db"
    content = bytearray(path.read_bytes())
    for page in range(2, len(content) // 4096):
        content[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(content)
    with pytest.raises(JournalUnavailable, match=r"journal\.db"):
        list(SqliteJournalReader(path).rows(LOST, 1, 500))
