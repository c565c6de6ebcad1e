"""Reconciling journals of several hosts by what each of them exported."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import orjson
import pytest

from crossfade.adapters.export import Location
from crossfade.adapters.export.manifest import File
from crossfade.core.verdict import Verdict
from crossfade.errors import JournalUnavailable
from tests.exports import TwoHosts, other_stream
from tests.reconciliation_data import SECOND_US, found, make_event, stream

MINE = stream("critical", 3)
THEIRS = other_stream("critical", 3)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[TwoHosts]:
    with TwoHosts(tmp_path) as made:
        yield made


def test_every_source_found_there_is_compared_and_they_agree(hosts: TwoHosts) -> None:
    hosts.one.fill(MINE, 33)
    hosts.two.fill(THEIRS, 41)
    hosts.two.fill(other_stream("system", 1), 5, routed=False)
    hosts.export()
    result = hosts.reconcile()
    assert result.verdict is Verdict.PASS
    assert result.checked_events == 33 + 41 + 5
    assert result.stores["supabase"].present == 33 + 41
    assert result.stores["supabase"].foreign == 0
    again = hosts.reconcile()  # costs what changed: nothing
    assert (again.blocks.checked, again.blocks.sealed) == (0, 5 + 6 + 1)


def test_the_same_faults_are_named_as_from_the_journals_themselves(hosts: TwoHosts) -> None:
    mine = hosts.one.fill(MINE, 30)
    theirs = hosts.two.fill(THEIRS, 30)
    hosts.export()
    hosts.one.drop("supabase", mine[4])
    hosts.two.alter("supabase", theirs[20], forged=True, data='{"delay":0}')
    hosts.one.drop("websocket", theirs[7])
    expected = {
        ("missing", "supabase", str(mine[4].position)),
        ("altered", "supabase", str(theirs[20].position)),
        ("missing", "websocket", str(theirs[7].position)),
    }
    assert found(hosts.reconcile()) == expected
    # Sealed meanwhile or not: a later export keeps them, and --full and --content do.
    hosts.export()
    for options in ({}, {"full": True}, {"content": True}):
        assert found(hosts.reconcile(**options)) == expected


def test_what_is_altered_in_a_journal_after_it_was_exported_is_exported_again(
    hosts: TwoHosts,
) -> None:
    events = hosts.two.fill(THEIRS, 50)
    hosts.export(hosts.two)
    assert hosts.reconcile().verdict is Verdict.PASS
    hosts.two.alter("journal", events[11], forged=False, data="{}")
    hosts.two.drop("journal", events[33])
    assert not found(hosts.reconcile(full=True))  # nothing was exported since
    (done,) = hosts.export(hosts.two)
    assert done.written_events < 25
    assert found(hosts.reconcile()) == {
        ("altered", "journal", str(events[11].position)),
        ("missing", "journal", str(events[33].position)),
    }


def test_an_older_manifest_is_no_gap_but_in_flight(hosts: TwoHosts) -> None:
    hosts.one.fill(MINE, 20)
    hosts.two.fill(THEIRS, 20)
    hosts.export()
    hosts.one.fill(MINE, 7)
    hosts.two.fill(other_stream("system", 9), 7)  # a stream that the export does not know
    hosts.one.clock.us += 60 * SECOND_US
    result = hosts.reconcile()
    assert result.verdict is Verdict.PASS, result.discrepancies
    assert result.checked_events == 40
    hosts.export()
    assert hosts.reconcile().checked_events == 14 + 4  # 4 of a block that has grown since


def test_what_the_publisher_still_owed_at_the_export_is_late_and_never_missing(
    hosts: TwoHosts,
) -> None:
    hosts.one.fill(MINE, 8)
    hosts.one.publish(MINE, 3, to=("websocket",), owed=("supabase",))
    hosts.export(hosts.one)
    result = hosts.reconcile()
    assert result.verdict is Verdict.INCONCLUSIVE
    assert {one.kind.value for one in result.discrepancies} == {"late"}


def test_events_younger_than_the_grace_are_in_flight(hosts: TwoHosts) -> None:
    hosts.one.fill(MINE, 25)
    hosts.one.publish(MINE, 4, age_s=1.0)
    hosts.export(hosts.one)
    result = hosts.reconcile()
    assert result.verdict is Verdict.PASS
    assert result.checked_events == 25
    assert result.stores["supabase"].in_flight == 4


def test_an_export_that_stopped_proves_nothing(hosts: TwoHosts) -> None:
    hosts.one.fill(MINE, 9)
    hosts.two.fill(THEIRS, 9)
    hosts.export()
    hosts.one.clock.us += 1_000 * SECOND_US
    hosts.one.cover("websocket", 0, hosts.one.clock.us)
    hosts.export(hosts.one)
    result = hosts.reconcile()
    assert result.verdict is Verdict.ERROR
    assert "other%20app%2F1/1: last exported at" in result.errors["journal"]
    assert "journal export" in result.errors["journal"]


def test_a_lost_journals_export_may_be_old_once_there_is_its_successors(hosts: TwoHosts) -> None:
    hosts.one.fill(MINE, 9)
    hosts.export(hosts.one)
    hosts.one.clock.us += 1_000 * SECOND_US
    for table in ("streams", "events", "routes", "cursors"):
        hosts.one.journal.execute(f"DELETE FROM {table}")
    hosts.one.journal.execute("UPDATE meta SET value = '2' WHERE key = 'epoch'")
    hosts.one.journal.commit()
    hosts.one.cover("websocket", 0, hosts.one.clock.us)
    hosts.one.fill(MINE._replace(epoch=2), 4)
    hosts.export(hosts.one)
    result = hosts.reconcile()
    assert result.verdict is Verdict.PASS, (result.errors, result.discrepancies)
    assert result.checked_events == 13


@pytest.mark.parametrize("harm", ["truncated", "altered", "gone", "manifest"])
def test_a_half_written_export_is_not_believed(hosts: TwoHosts, harm: str) -> None:
    hosts.one.fill(MINE, 25)
    hosts.export()
    files = fsspec.filesystem("memory")
    rows = sorted(name for name in files.find(hosts.url) if "digests" not in name)
    place = next(name for name in rows if name.endswith(".parquet"))
    content = files.cat_file(place)
    if harm == "truncated":
        files.pipe_file(place, content[: len(content) // 2])
    elif harm == "altered":
        files.pipe_file(place, content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    elif harm == "gone":
        files.rm_file(place)
    else:
        place = next(name for name in rows if name.endswith("manifest.json"))
        files.pipe_file(place, files.cat_file(place)[:-40])
    if harm == "manifest":
        with pytest.raises(JournalUnavailable, match="no whole manifest"):
            hosts.reader()
        return
    result = hosts.reconcile(content=True)
    assert result.verdict is Verdict.ERROR
    assert place.rpartition("/")[2] in result.errors["journal"]


def test_an_export_that_was_killed_before_its_manifest_changes_nothing(
    hosts: TwoHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts.one.fill(MINE, 15)
    hosts.export(hosts.one)
    hosts.one.fill(MINE, 40)

    class Killed(BaseException):
        pass

    put = Location.put

    def dies(self: Any, name: str, content: bytes) -> None:
        if name.endswith("manifest.json"):
            raise Killed
        put(self, name, content)

    monkeypatch.setattr(Location, "put", dies)
    with pytest.raises(Killed):
        hosts.export(hosts.one)
    monkeypatch.undo()
    result = hosts.reconcile()
    assert (result.verdict, result.checked_events) == (Verdict.PASS, 15)
    hosts.export(hosts.one)
    result = hosts.reconcile(full=True)
    assert (result.verdict, result.checked_events) == (Verdict.PASS, 55)


def test_exported_digests_are_hints_that_the_scrub_holds_against_the_rows(
    hosts: TwoHosts,
) -> None:
    """A row that was altered on its way to the table *and* whose digest was forged to fit."""
    events = hosts.one.fill(MINE, 16)
    hosts.one.alter("journal", events[2], forged=True, data="{}")
    hosts.export(hosts.one)
    # The digests of an export of the right content, under the names and hashes of this one.
    files = fsspec.filesystem("memory")
    truth, hosts.url = hosts.url, f"{hosts.url}-right"
    hosts.one.put("journal", events[2])
    hosts.export(hosts.one)
    right, hosts.url = hosts.url, truth
    for name in files.find(right):
        if name.endswith("digests.parquet"):
            files.pipe_file(name.replace("-right/", "/"), files.cat_file(name))
    _with_their_hashes(hosts.url)
    assert hosts.reconcile().verdict is Verdict.PASS
    result = hosts.reconcile(options={"scrub_blocks": 10})
    assert found(result) == {("altered", "journal", str(events[2].position))}
    files.rm(right, recursive=True)


def _with_their_hashes(url: str) -> None:
    files = fsspec.filesystem("memory")
    (name,) = [name for name in files.find(url) if name.endswith("manifest.json")]
    manifest = orjson.loads(files.cat_file(name))
    for segment in manifest["segments"]:
        own = segment["digests"][0]
        segment["digests"] = list(File.of(own, files.cat_file(f"{name.rpartition('/')[0]}/{own}")))
    files.pipe_file(name, orjson.dumps(manifest))


def test_a_phantom_within_what_is_exported_is_named(hosts: TwoHosts) -> None:
    hosts.one.fill(MINE, 8)
    events = hosts.two.fill(THEIRS, 8)
    hosts.two.drop("journal", events[3])
    hosts.export()
    assert found(hosts.reconcile()) == {("missing", "journal", str(events[3].position))}
    assert make_event(THEIRS, 4).position == events[3].position
