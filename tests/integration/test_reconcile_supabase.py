"""Reconciliation, backfill and the command against the real table, over its REST interface."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crossfade.adapters.stores import SupabaseReader
from crossfade.backfill import backfill
from crossfade.cli import app
from crossfade.core.digest import digest_of, merge
from crossfade.core.event import Event, Stream, content_hash, to_wire
from crossfade.core.reconciliation import Reconciliation
from crossfade.core.reconciliation_plan import Extent, Range
from crossfade.core.verdict import Verdict
from crossfade.errors import StoreRejected, StoreUnavailable, StoreUnreachable
from crossfade.reconcile import reconcile
from crossfade.settings import Settings, SupabaseSettings
from tests.reconciliation_data import World, found, make_event, stream
from tests.services import Project

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase")]

PAST_US = 1_700_000_000_000_000


def here(topic: str, partition: int) -> Stream:
    return stream(topic, partition)._replace(source="reconciled")


LOST = here("critical", 3)
QUIET = here("system", 7)


@pytest.fixture
def world(project: Project, tmp_path: Path) -> Iterator[World]:
    """Journal and recording in files, the table in PostgreSQL; the double is only a list."""
    project.sql("delete from crossfade.events where source = 'reconciled'")
    with World(tmp_path, now_us=PAST_US) as made:
        made.journal.execute("UPDATE meta SET value = 'reconciled' WHERE key = 'source'")
        made.journal.commit()
        yield made


@pytest.fixture
def reader(project: Project) -> Iterator[SupabaseReader]:
    with contextlib.closing(SupabaseReader(project.settings().supabase)) as made:
        yield made


def settings_of(world: World, project: Project, **options: object) -> Settings:
    return world.settings(**options).model_copy(update={"supabase": project.settings().supabase})


def run(world: World, project: Project, **given: object) -> Reconciliation:
    return reconcile(settings_of(world, project), clock=world.clock, sleep=lambda _: None, **given)  # type: ignore[arg-type]


def store(project: Project, world: World) -> None:
    """Ingest what the double was given."""
    events = [event for held in world.supabase.events.values() for event in held.values()]
    [(answer,)] = project.sql(
        "select public.crossfade_ingest_v1(%s::json, false)",
        json.dumps([to_wire(event) for event in events]),
    )
    assert not answer["conflicts"], "another test left events under the same ids"


def spoil(project: Project, event: Event, assignment: str) -> None:
    project.sql(
        f"update crossfade.events set {assignment} where source = 'reconciled' and topic = %s "
        "and partition = %s and sequence = %s",
        event.topic, event.partition, event.sequence,
    )  # fmt: skip


def test_i9_exactly_what_was_done_to_the_table_is_named(world: World, project: Project) -> None:
    lost, quiet = world.fill(LOST, 60), world.fill(QUIET, 60)
    store(project, world)
    clean = run(world, project)
    assert (clean.verdict, clean.checked_events, clean.blocks.sealed) == (Verdict.PASS, 120, 16)
    assert clean.stores["supabase"].present == 120

    spoil(project, lost[0], "data = '{}'")
    spoil(project, lost[9], "subject = 'LGA'")
    spoil(project, lost[17], '"time" = "time" + interval \'1 microsecond\'')
    spoil(project, lost[30], "type = 'flight.cancelled'")
    spoil(project, lost[31], "checksum = checksum + 1")
    forged = quiet[3]._replace(data='{"delay":-1}')
    spoil(project, quiet[3], f"data = '{forged.data}', checksum = {content_hash(forged)}")
    spoil(project, quiet[59], "sequence = 99")  # moved: missing there, phantom here
    project.sql("delete from crossfade.events where id = %s", quiet[20].id)
    ghost = make_event(LOST, 61, id="ghost")
    project.sql("select public.crossfade_ingest_v1(%s::json, false)", json.dumps([to_wire(ghost)]))
    # Not even a full run is needed: the table's triggers tell which blocks to look at.
    assert run(world, project).blocks.checked < 16
    assert run(world, project).discrepancy_count == 10
    project.sql("delete from crossfade.changes")
    result = run(world, project, full=True)
    assert found(result) == {
        ("altered", "supabase", str(lost[0].position)),
        ("altered", "supabase", str(lost[9].position)),
        ("altered", "supabase", str(lost[17].position)),
        ("altered", "supabase", str(lost[30].position)),
        ("stale_hash", "supabase", str(lost[31].position)),
        ("altered", "supabase", str(quiet[3].position)),
        ("missing", "supabase", str(quiet[20].position)),
        ("missing", "supabase", str(quiet[59].position)),
        ("phantom", "supabase", str(quiet[59].position).replace("/60", "/99")),
        ("phantom", "supabase", str(ghost.position)),
    }
    details = {one.position: one.detail.split(":")[0] for one in result.discrepancies}
    assert details[str(lost[17].position)] == "time"
    assert details[str(lost[30].position)] == "type"
    assert result.verdict is Verdict.FAIL


@pytest.mark.parametrize("how", ["full", "content"])
def test_what_evades_the_tables_log_is_found_by_its_digests(
    world: World, project: Project, how: str
) -> None:
    lost = world.fill(LOST, 60)
    store(project, world)
    assert run(world, project).verdict is Verdict.PASS
    project.sql("alter table crossfade.events disable trigger log_updates")
    spoil(project, lost[9], "subject = 'LGA'")
    project.sql("alter table crossfade.events enable always trigger log_updates")
    assert run(world, project).checked_events == 0  # everything is sealed, nothing is told
    assert found(run(world, project, **{how: True})) == {
        ("altered", "supabase", str(lost[9].position))
    }


def test_many_scattered_rows_are_read_page_by_page(
    world: World, project: Project, reader: SupabaseReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossfade.adapters.stores.supabase.MAX_BLOCKS", 400)
    lost = world.fill(LOST, 1_300)
    store(project, world)
    ranges = [Range(LOST, n, n + 1) for n in range(1, 1_300, 2)]
    assert [row.event._replace(committed_us=0) for row in reader.rows_of(ranges)] == lost
    whole = [Range(LOST, 1, 1_200), Range(LOST, 1_201, 1_299)]
    assert len(list(reader.rows_of(whole))) == 1_299
    spoil(project, lost[6], "subject = 'LGA'")
    told = list(reader.hashes(whole))
    assert [at for one in told for at in one.sequences] == list(range(1, 1_300))
    hashes = [value for one in told for value in one.hashes]
    assert [n for n, event in enumerate(lost[:1_299]) if event.hash != hashes[n]] == [6]
    assert [set(one.odd) for one in told] == [{7}, set()]


def test_a_row_that_no_event_can_be_made_of_is_named(world: World, project: Project) -> None:
    lost = world.fill(LOST, 20)
    store(project, world)
    spoil(project, lost[4], "\"time\" = '19999-01-01'")
    result = run(world, project)
    assert found(result) == {("altered", "supabase", str(lost[4].position))}
    assert not result.errors
    assert "RFC 3339" in result.discrepancies[0].detail


def test_backfill_fills_the_table_quietly(world: World, project: Project) -> None:
    events = world.fill(LOST, 60)
    for event in events[10:25]:
        world.drop("supabase", event)
    store(project, world)
    settings = settings_of(world, project)
    assert backfill(settings, clock=world.clock).lacking == 15
    done = backfill(settings, clock=world.clock, dry_run=False)
    assert (done.inserted, done.left, done.is_complete) == (15, 0, True)
    assert run(world, project).verdict is Verdict.PASS


def test_the_readers_digests_are_those_of_the_rows(
    world: World, project: Project, reader: SupabaseReader
) -> None:
    events = world.fill(LOST, 60)
    world.drop("supabase", events[19])
    store(project, world)
    assert Extent(LOST, 1, 60) in reader.streams()
    held = [event for event in events if event.sequence != 20]
    # Two ranges that share a block, the one cut inside it: their parts add up.
    parts = list(reader.digests([Range(LOST, 1, 19), Range(LOST, 21, 70)], 8))
    whole = {block: digest_of(block, ()) for _, (block, *_) in parts}
    for where, digest in parts:
        assert where == LOST
        whole[digest.block] = merge(whole[digest.block], digest)
    assert whole == {
        block: digest_of(
            block, ((e.sequence, e.hash) for e in held if (e.sequence - 1) // 8 == block)
        )
        for block in range(8)
    }
    rows = list(reader.rows(LOST, 15, 30))
    assert [row.event for row in rows] == [e for e in held if 15 <= e.sequence <= 30]
    assert all(row.hash == row.stored == row.event.hash for row in rows)
    assert list(reader.rows(LOST, 61, 99)) == list(reader.rows(here("debug", 1), 1, 9)) == []


def test_rows_come_page_by_page(
    world: World, project: Project, reader: SupabaseReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossfade.adapters.stores.supabase.PAGE", 7)
    events = world.fill(LOST, 60)
    store(project, world)
    assert [row.event for row in reader.rows(LOST, 3, 50)] == events[2:50]


def test_a_table_that_is_down_or_refuses_is_an_error(
    world: World, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossfade.adapters.stores.supabase.ATTEMPTS", 1)
    world.fill(LOST, 10)
    key = project.settings().supabase.service_role_key
    dead = SupabaseSettings(url="http://127.0.0.1:9", service_role_key=key)
    reader = SupabaseReader(dead)
    with pytest.raises(StoreUnreachable, match=r"crossfade_extents_v1: .*refused"):
        reader.streams()
    reader.close()
    weak = SupabaseSettings(url=project.url, service_role_key=project.settings().supabase.anon_key)
    reader = SupabaseReader(weak)
    with pytest.raises(StoreRejected, match="crossfade_extents_v1: 42501"):
        reader.streams()
    reader.close()
    with pytest.raises(StoreRejected, match="no Supabase project"):
        SupabaseReader(SupabaseSettings())
    settings = settings_of(world, project)
    result = reconcile(
        settings.model_copy(update={"supabase": dead}), clock=world.clock, sleep=lambda _: None
    )
    assert result.verdict is Verdict.ERROR
    assert key.get_secret_value() not in json.dumps(result.to_json())


def test_a_busy_database_is_asked_again(project: Project) -> None:
    reader = SupabaseReader(project.settings().supabase)
    answers = iter([StoreUnavailable("busy"), []])

    def once(function: str, arguments: object) -> object:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    reader._call_once = once  # type: ignore[method-assign]
    assert reader.streams() == []
    reader.close()


def test_the_command_on_a_real_project(
    world: World, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = world.fill(LOST, 20)
    store(project, world)
    supabase = project.settings().supabase
    (world.folder / "crossfade.toml").write_text(
        '[journal]\npath = "journal.db"\n[tap]\npath = "tap.db"\n'
        '[reconcile]\nblock = 8\nrecheck_s = 0.0\nstate = "seals.db"\n'
        f'[supabase]\nurl = "{supabase.url}"\n'
        f'service_role_key = "{supabase.service_role_key.get_secret_value()}"\n',
        encoding="utf-8",
    )
    monkeypatch.chdir(world.folder)
    assert CliRunner().invoke(app, ["reconcile"]).exit_code == 0
    spoil(project, events[3], "data = '{}'")
    result = CliRunner().invoke(app, ["reconcile", "--full", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["discrepancies"][0]["position"] == str(events[3].position)
    shown = CliRunner().invoke(app, ["reconcile", "--explain", str(events[3].position)])
    assert shown.exit_code == 1
    assert "altered in supabase: data: not as in journal" in shown.stdout
