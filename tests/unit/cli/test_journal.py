"""Exporting a journal and reconciling it elsewhere, by the commands."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from crossfade.cli import app
from crossfade.errors import UsageError
from tests.reconciliation_data import World, stream

LOST = stream("critical", 3)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    (tmp_path / "crossfade.toml").write_text(
        '[journal]\npath = "journal.db"\n[tap]\npath = "tap.db"\n'
        '[reconcile]\nblock = 8\nrecheck_s = 0.0\nstate = "seals.db"\n'
        "[export]\nsegment_events = 10\nevery_s = 0.05\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    with World(tmp_path, now_us=1_700_000_000_000_000) as made:
        monkeypatch.setattr("crossfade.comparison.SupabaseReader", lambda settings: made.supabase)
        yield made


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_a_journal_is_exported_and_reconciled_from_there(world: World) -> None:
    events = world.fill(LOST, 25)
    result = run("journal", "export", "out")
    assert result.exit_code == 0, result.output
    assert "exported 25 events in 3 segments to out/app/1; 25 events in 3 segments" in result.stdout
    again = run("journal", "export", "out", "--json")
    assert orjson.loads(again.stdout)["written_events"] == 0
    (world.folder / "journal.db").rename(world.folder / "elsewhere.db")
    world.drop("supabase", events[3])
    result = run("reconcile", "--journal", "out")
    assert result.exit_code == 1, result.output
    assert f"missing in supabase: {events[3].position}" in result.stdout
    assert run("reconcile", "--explain", str(events[3].position)).exit_code == 2  # no journal here


def test_the_settings_name_both_places(world: World) -> None:
    world.fill(LOST, 5)
    with (world.folder / "crossfade.toml").open("a", encoding="utf-8") as file:
        file.write('url = "out"\n')
    assert run("journal", "export").exit_code == 0
    text = (world.folder / "crossfade.toml").read_text(encoding="utf-8")
    text = text.replace("block = 8", 'block = 8\njournals = "out"')
    (world.folder / "crossfade.toml").write_text(text, encoding="utf-8")
    (world.folder / "journal.db").rename(world.folder / "elsewhere.db")
    assert run("reconcile").exit_code == 0


def test_what_can_not_be_exported_is_said_in_one_line(world: World) -> None:
    assert isinstance(run("journal", "export").exception, UsageError)
    result = run("reconcile", "--journal", "nothing-here")
    assert result.exit_code == 2
    assert "nothing-here: no journal was exported there" in result.stdout


def test_watching_exports_again_until_it_is_interrupted(world: World) -> None:
    world.fill(LOST, 5)
    process = subprocess.Popen(
        [sys.executable, "-m", "crossfade.cli", "journal", "export", "out", "--watch", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    numbers = []
    deadline = time.monotonic() + 50
    try:
        text = b""
        while len(numbers) < 2 and time.monotonic() < deadline:
            text += process.stdout.readline()
            if text.rstrip().endswith(b"}"):
                numbers.append(orjson.loads(text)["number"])
                text = b""
        assert numbers == [1, 2]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert b"Traceback" not in errors
