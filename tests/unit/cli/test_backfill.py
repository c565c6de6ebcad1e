"""The command: what it copies, what it says, and its exit statuses."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from crossfade.adapters.supabase import SupabaseEventStore
from crossfade.cli import app
from crossfade.errors import UsageError
from tests.reconciliation_data import World, stream
from tests.unit.test_backfill import Table, lose

LOST, QUIET = stream("critical", 3), stream("system", 7)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Stores that the command finds by a settings file; Supabase is the double."""
    (tmp_path / "crossfade.toml").write_text(
        '[journal]\npath = "journal.db"\n[reconcile]\nblock = 8\n', encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    with World(tmp_path, now_us=1_700_000_000_000_000) as made:  # in the past by the real clock
        monkeypatch.setattr("crossfade.comparison.SupabaseReader", lambda _: made.supabase)
        monkeypatch.setattr(SupabaseEventStore, "for_publisher", lambda _: Table(made.supabase))
        yield made


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["backfill", *arguments])


def test_a_dry_run_first_and_then_the_copy(world: World) -> None:
    lose(world, world.fill(LOST, 40)[10:25])
    looked = run("--dry-run")
    assert looked.exit_code == 1
    assert "40 events compared" in looked.stdout
    assert "15 lacking, nothing was copied (dry run), 0 for a person" in looked.stdout
    assert len(world.supabase.events[LOST]) == 25
    done = orjson.loads(run("--json").stdout)
    assert (done["lacking"], done["inserted"], done["left"], done["complete"]) == (15, 15, 0, True)
    again = run()
    assert again.exit_code == 0
    assert "0 lacking, 0 copied, 0 had come meanwhile, 0 still lacking" in again.stdout


def test_what_is_held_otherwise_is_left_to_a_person(world: World) -> None:
    events = world.fill(LOST, 20)
    world.alter("supabase", events[3], forged=False, data="{}")
    world.alter("supabase", events[5], forged=False, data=f" {events[5].data}")
    result = run()
    assert result.exit_code == 1
    assert "for a person: app/1/critical/3/4: altered in supabase" in result.stdout
    assert "for a person: app/1/critical/3/6: reserialised in supabase" in result.stdout


def test_one_stream_alone_and_what_is_not_owed(world: World) -> None:
    lose(world, world.fill(LOST, 9)[:2])
    lose(world, world.fill(QUIET, 9)[:3])
    world.publish(stream("debug", 1), 5)  # not owed
    one = orjson.loads(run("--dry-run", "--json", "--stream", "app/1/system/7").stdout)
    assert (one["checked_events"], one["lacking"]) == (9, 3)
    assert orjson.loads(run("--dry-run", "--json", "--everything").stdout)["lacking"] == 10
    assert "'system/7' is not source/epoch/topic/partition" in str(
        run("--stream", "system/7").exception
    )


@pytest.mark.parametrize("more", [(), ("--stream", "app/1/system/7"), ("--dry-run",)])
def test_a_stream_that_nobody_knows_is_no_green_check(world: World, more: tuple[str, ...]) -> None:
    lose(world, world.fill(QUIET, 9)[:3])
    error = run("--stream", "app/1/sytsem/7", "--stream", "app/2/system/7", *more).exception
    assert isinstance(error, UsageError)
    assert "no stream app/1/sytsem/7, app/2/system/7" in str(error)
    assert len(world.supabase.events[QUIET]) == 6  # nothing was copied either


def test_what_can_not_be_done_is_status_2(world: World) -> None:
    world.fill(LOST, 9)
    world.supabase.broken = "digests"
    assert isinstance(run().exception, UsageError)
    (world.folder / "crossfade.toml").write_text('[journal]\npath = "none.db"\n', encoding="utf-8")
    failed = run()
    assert isinstance(failed.exception, UsageError)
    assert "none.db" in str(failed.exception)
