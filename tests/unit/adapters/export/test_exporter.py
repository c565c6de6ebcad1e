"""Exporting: what is written, when it is written again, what is left behind."""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from crossfade.adapters.export import Exported, Location, export_journal, read_manifests
from crossfade.adapters.stores import SqliteJournalReader
from crossfade.adapters.stores.exported import ExportedJournals
from crossfade.core.reconciliation_plan import Range
from crossfade.errors import JournalLocked, JournalTooNew, JournalUnavailable, UsageError
from tests.reconciliation_data import World, stream

ONE, TWO = stream("critical", 3), stream("system", 7)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


def export(world: World, *, segment_events: int = 10, block: int = 8) -> Exported:
    return export_journal(
        world.folder / "journal.db",
        Location(str(world.folder / "out")),
        segment_events=segment_events,
        block=block,
        clock=world.clock,
    )


def files(world: World) -> dict[str, int]:
    """Name and moment of writing of every file of the export."""
    folder = world.folder / "out" / "app" / "1"
    return {one.name: one.stat().st_mtime_ns for one in folder.iterdir()}


def reader(world: World) -> ExportedJournals:
    return ExportedJournals(str(world.folder / "out"), max_age_s=900.0)


def test_rows_digests_and_outline_are_those_of_the_journal(world: World) -> None:
    world.route(ONE, 3, 17)
    world.route(ONE, 21)
    world.publish(ONE, 25)
    events = world.publish(TWO, 31, owed=("supabase",))
    world.drop("journal", events[12])
    world.spoil_checksum("journal", events[20])
    export(world)
    journal, exported = SqliteJournalReader(world.folder / "journal.db"), reader(world)
    cutoff_us = world.clock.us
    mine, theirs = journal.outline(cutoff_us), exported.outline(cutoff_us)
    assert (theirs.scope, theirs.streams) == (mine.scope, mine.streams)
    assert theirs.open_ended == theirs.scope
    assert exported.streams() == journal.streams()
    since = cutoff_us - 60_000_000 + 14
    assert exported.outline(cutoff_us, since).streams == journal.outline(cutoff_us, since).streams
    ranges = [Range(ONE, 2, 19), Range(TWO, 1, 31), Range(TWO, 9, 16), Range(TWO, 40, 50)]
    assert list(exported.rows_of(ranges)) == list(journal.rows_of(ranges))
    for block in (8, 5):  # 8 is the digests' own
        for anew in (False, True):
            found = list(exported.digests(ranges, block, anew=anew))
            assert sorted(found) == sorted(journal.digests(ranges, block)), (block, anew)
    journal.close()


def test_an_export_writes_what_is_new_and_the_open_segment(world: World) -> None:
    world.fill(ONE, 25)
    assert export(world)[1:6] == (1, 25, 3, 25, 3)
    before = files(world)
    world.fill(ONE, 3)
    world.fill(TWO, 4)
    # The open segment of 5 grows to 12: one is closed, one is open.
    assert export(world)[1:6] == (2, 12, 2, 32, 4)
    after = files(world)
    assert [name for name in before if name in after and before[name] != after[name]] == [
        "manifest.json"
    ]
    assert [row.event.sequence for row in reader(world).rows(ONE, 1, 99)] == list(range(1, 29))


def test_an_export_without_news_writes_the_manifest_only(world: World) -> None:
    world.fill(ONE, 25)
    export(world)
    world.clock.us += 1
    before = files(world)
    assert export(world)[1:4] == (2, 0, 0)
    after = files(world)
    assert {name for name in before if before[name] != after[name]} == {"manifest.json"}
    (manifest,) = read_manifests(Location(str(world.folder / "out")))
    assert (manifest.number, manifest.at_us) == (2, world.clock.us)


def test_files_that_two_manifests_do_not_name_are_removed(world: World) -> None:
    for _ in range(4):
        world.fill(ONE, 2)
        export(world, segment_events=100)
    # The open segment of now, and the one that a reader of the last manifest may still read.
    assert sorted(name[:14] for name in files(world) if name.endswith("0001.parquet")) == [
        "00000003-00001",
        "00000004-00001",
    ]


def test_what_retention_dropped_is_dropped_from_the_export(world: World) -> None:
    world.fill(ONE, 40)
    export(world)
    world.journal.execute("UPDATE streams SET floor = 33")
    world.journal.execute("DELETE FROM events WHERE sequence < 30")
    world.journal.commit()
    export(world)
    (manifest,) = read_manifests(Location(str(world.folder / "out")))
    assert [part.first for one in manifest.segments for part in one.parts] == [31]
    assert reader(world).outline(world.clock.us).streams[0].floor == 33
    assert world.reconcile(readers={**world.readers(), "journal": reader(world)}).verdict == "pass"


def test_only_segments_with_altered_rows_are_written_again(world: World) -> None:
    events = world.fill(ONE, 50)
    export(world)
    mark = reader(world).changes("").mark
    assert reader(world).changes(mark) == (mark, ())
    world.alter("journal", events[22], forged=True, data="{}")
    assert export(world)[1:6] == (2, 10, 1, 50, 5)
    changed = reader(world).changes(mark)
    assert changed.ranges is not None
    assert set(changed.ranges) == {Range(ONE, 23, 23)}
    assert [row.event.data for row in reader(world).rows(ONE, 23, 23)] == ["{}"]
    assert reader(world).changes(changed.mark).ranges == ()


def test_marks_of_another_export_or_of_the_file_say_that_anything_may_have_changed(
    world: World,
) -> None:
    world.fill(ONE, 5)
    export(world)
    mark = reader(world).changes("").mark
    assert reader(world).changes("17").ranges is None  # the journal's file was read before
    assert SqliteJournalReader(world.folder / "journal.db").changes(mark).ranges is None
    manifest = world.folder / "out" / "app" / "1" / "manifest.json"
    manifest.unlink()
    export(world)
    assert reader(world).changes(mark).ranges is None


def test_a_log_that_can_not_answer_exports_everything_again(world: World) -> None:
    world.fill(ONE, 25)
    export(world)
    mark = reader(world).changes("").mark
    world.journal.execute("DROP TRIGGER events_updated")
    world.journal.commit()
    assert export(world)[1:4] == (2, 25, 3)
    assert reader(world).changes(mark).ranges is None


def test_an_older_copy_of_the_journal_is_refused(world: World) -> None:
    world.fill(ONE, 25)
    export(world)
    world.journal.execute("UPDATE streams SET head = 20")
    world.journal.commit()
    with pytest.raises(JournalUnavailable, match="exported up to 25 and ends at 20 now"):
        export(world)


def test_one_export_at_a_time(world: World) -> None:
    lock = os.open(world.folder / "journal.db.export.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(JournalLocked, match="another export"):
        export(world)
    os.close(lock)
    export(world)


def test_a_later_versions_export_is_not_read(world: World) -> None:
    world.fill(ONE, 5)
    export(world)
    manifest = world.folder / "out" / "app" / "1" / "manifest.json"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace('"version":1', '"version":2'), encoding="utf-8")
    with pytest.raises(JournalTooNew, match="upgrade"):
        reader(world)


def test_row_groups_are_read_one_by_one(world: World) -> None:
    world.publish(ONE, 4_200)
    export(world, segment_events=10_000)
    rows = next(
        one for one in (world.folder / "out" / "app" / "1").iterdir()
        if one.suffix == ".parquet" and "digests" not in one.name
    )  # fmt: skip
    assert pq.ParquetFile(rows).num_row_groups == 3
    found = [row.event.sequence for row in reader(world).rows(ONE, 2_040, 4_100)]
    assert found == list(range(2_040, 4_101))


def test_passwords_do_not_belong_in_a_url(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="user or password"):
        Location("ftp://someone:secret@example.org/journals")
    with pytest.raises(UsageError, match="nosuch"):
        Location("nosuch://bucket")


def test_nothing_exported_is_no_empty_journal(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match="no journal was exported there"):
        ExportedJournals(str(tmp_path), max_age_s=900.0)
