"""supabase migrate, down, retain and quota, run through the entry point as the shell would."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from crossfade.adapters.migrations import applied_versions, as_script, find_migrations
from crossfade.cli import main
from crossfade.local.supabase.bootstrap import prepare_database
from tests.contract.events import make_events
from tests.integration.schema.database import Database
from tests.services import Postgres, Project

pytestmark = pytest.mark.xdist_group("supabase")

Run = Callable[..., tuple[int, str, str]]
VERSIONS = [one.version for one in find_migrations()]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("SUPABASE_URL", "SUPABASE_DB_URL", "SUPABASE_SERVICE_ROLE_KEY"):
        monkeypatch.delenv(name, raising=False)

    def run_(*arguments: str, stdin: str = "", **environment: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["crossfade", "supabase", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        status = 0
        try:
            main()
        except SystemExit as error:
            status = int(error.code or 0)
        captured = capfd.readouterr()
        return status, captured.out, captured.err

    return run_


@pytest.fixture
def url(postgres: Postgres) -> str:
    """A project without our migrations."""
    made = postgres.create_database("template1")
    prepare_database(made)
    return made


def test_up_again_status_and_down(run: Run, url: str) -> None:
    status, out, _ = run("migrate", "--status", "--json", SUPABASE_DB_URL=url)
    assert (status, json.loads(out)) == (1, {"applied": [], "missing": VERSIONS, "others": []})
    status, out, _ = run("migrate")
    assert status == 0
    assert out.splitlines() == [f"applied {one.path.name}" for one in find_migrations()]
    assert run("migrate") == (0, "nothing to do: all are applied\n", "")
    status, out, _ = run("migrate", "--status")
    assert status == 0
    assert out.splitlines()[0] == f"applied  {find_migrations()[0].path.name}"
    assert "missing" not in out

    status, out, err = run("down")
    assert (status, out) == (2, "")
    assert 'crossfade: down: not confirmed; give --confirm "drop crossfade"' in err
    assert run("down", "--confirm", "yes")[0] == 2
    assert applied_versions(url) == VERSIONS
    status, out, _ = run("down", "--confirm", "drop crossfade", "--json")
    assert (status, json.loads(out)) == (0, {"reverted": VERSIONS[::-1]})
    assert applied_versions(url) == []
    assert run("down", "--confirm", "drop crossfade")[1] == "nothing to do: none was applied\n"


def test_the_sql_to_paste(run: Run) -> None:
    assert run("migrate", "--print") == (0, as_script(), "")


def test_without_a_database_it_says_where_its_url_belongs(run: Run) -> None:
    for command in (("migrate",), ("migrate", "--status"), ("down", "--confirm", "x")):
        status, out, err = run(*command)
        assert (status, out) == (2, "")
        assert "set SUPABASE_DB_URL" in err
        assert err.count("\n") == 1


def test_a_database_that_is_not_there(run: Run, tmp_path: Path) -> None:
    status, _, err = run("migrate", SUPABASE_DB_URL=f"postgresql://u:hunter2@/x?host={tmp_path}")
    assert status == 1
    assert "can not be reached" in err
    assert "hunter2" not in err


def test_retain_removes_what_the_journal_has_let_go_of(run: Run, fresh_project: Project) -> None:
    with Database(fresh_project.database_url) as database:
        database.ingest(make_events(1, 30), live=False)
        database.call("crossfade_heads_v1", heads=[["app", 1, "critical", 0, 30, 21]], live=False)
        database.connection.execute(
            "update crossfade.events set inserted_at = now() - interval '3 days'"
        )
    options = ("--settings", str(fresh_project.settings_file))
    assert run("retain", "--older-than", "4d", *options)[1] == "removed 0 events of 0 streams\n"
    status, out, _ = run("retain", "--older-than", "2d", "--json", *options)
    assert (status, json.loads(out)) == (
        0,
        {"removed": 20, "floors": [["app", 1, "critical", 0, 21]]},
    )
    with psycopg.connect(fresh_project.database_url) as connection:
        row = connection.execute("select min(sequence), count(*) from crossfade.events").fetchone()
    assert row == (21, 10)


def test_an_age_that_is_none(run: Run) -> None:
    for age in ("30", "0d", "-1d", "soon"):
        status, _, err = run("retain", f"--older-than={age}")
        assert (status, err.count("\n")) == (2, 1)
        assert "must be an age such as 30d" in err


def test_quota(run: Run) -> None:
    status, out, _ = run("quota", "--rate", "10", "--subscribers", "9", "--json")
    assert status == 0
    document = json.loads(out)
    assert (document["frames_per_s"], document["messages_per_s"]) == (11, 110)
    free, pro, *_ = document["plans"]
    assert (free["plan"], free["exceeded_at_percent"], free["most_subscribers"]) == ("free", 91, 8)
    assert (pro["plan"], pro["exceeded_at_percent"], pro["most_subscribers"]) == ("pro", None, 44)
    status, out, _ = run("quota", "--rate", "10", "--subscribers", "300")
    assert status == 0
    assert out.startswith("11.0 frames/s and 3,311.0 messages/s at 100 %, at most")
    assert "connections" in out.split("free")[1].splitlines()[0]
