"""Known keys go through everything; then all that was written is searched for them."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crossfade.adapters.memory import MemoryReporter
from crossfade.adapters.supabase import SupabaseEventStore
from crossfade.errors import StoreUnavailable
from crossfade.local.stack_settings import to_toml
from crossfade.tap import Tap
from tests.contract.events import make_event
from tests.integration.scene import Consumer, Scene, wait_for
from tests.services import ROOT, Postgres, Project, running_project

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase"), pytest.mark.timeout(150)]

PASSWORD = "hunter2-canary-password"
SUPABASE = [part for name in ("keys", "project", "anon", "canary") for part in ("--only", name)]
WRONG = {"SUPABASE_SERVICE_ROLE_KEY": "access token"}
COMMANDS: tuple[tuple[list[str], dict[str, str]], ...] = (
    (["doctor", "--json", *SUPABASE], {}),
    (["doctor", "--only", "project"], WRONG),
    (["supabase", "migrate", "--status"], {}),
    (["reconcile", "--store", "supabase", "--json"], {}),
)


@pytest.fixture
def guarded_project(postgres: Postgres, tmp_path: Path) -> Iterator[Project]:
    url = postgres.create_database().replace("postgres@", f"postgres:{PASSWORD}@")
    with running_project(tmp_path, url) as running:
        yield running


def secrets_of(project: Project) -> dict[str, str]:
    return {
        "anon key": project.anon_key,
        "server key": project.service_role_key,
        "access token": project.token(subject="canary-user"),
        "JWT secret": project.jwt_secret,
        "database password": PASSWORD,
    }


def leaks(secrets: dict[str, str], text: str) -> list[str]:
    # A part is as bad: tokens share their first characters, never their signature.
    return [name for name, value in secrets.items() if value in text or value[-24:] in text]


@contextmanager
def watched_processes() -> Iterator[set[str]]:
    """The arguments of every process that runs meanwhile."""
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(entry.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:
                    continue  # it has ended

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


async def test_in_logs_errors_and_reports_even_when_everything_is_logged(
    tmp_path: Path, guarded_project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    project = guarded_project
    secrets = secrets_of(project)
    reporter = MemoryReporter()
    with caplog.at_level(logging.DEBUG):
        async with Scene(tmp_path, project) as scene:
            scene.flags.set(scene.serve(100, version=1))
            async with (
                Consumer(scene.subscriber(reporter=reporter)) as consumer,
                Tap(scene.settings, flags=scene.flags, reporter=reporter),
            ):
                await scene.publish(20)
                await consumer.all_of(scene.published)
                # What fails tells more: a gateway that refuses, a server that dies, a key that
                # is not known.
                await asyncio.to_thread(project.fault, refuse=True)
                await scene.publish(5)
                await wait_for(lambda: "supabase" in caplog.text.lower())
                await asyncio.to_thread(project.fault, refuse=False)
                await asyncio.to_thread(project.stop)
                await scene.publish(5)
                await asyncio.sleep(0.5)
                await asyncio.to_thread(project.start)
                await consumer.all_of(scene.published)
                await wait_for(lambda: len(reporter.reports) >= 2)
        wrong = secrets["server key"][:-3] + "abc"
        async with SupabaseEventStore(project.url, wrong) as store:
            with pytest.raises(StoreUnavailable) as refused:
                await store.ingest([make_event(1)])
    told = json.dumps([one.to_json() for one in reporter.reports])
    assert leaks({"wrong key": wrong}, str(refused.value)) == []
    assert leaks(secrets, caplog.text) == []
    assert leaks(secrets, told) == []
    assert leaks(secrets, project.log.read_text()) == []
    # The filter was needed: the address was logged, without the key in it.
    assert "apikey=…" in caplog.text


def test_in_what_commands_print_and_in_the_list_of_processes(
    tmp_path: Path, guarded_project: Project
) -> None:
    project = guarded_project
    secrets = secrets_of(project)
    settings = tmp_path / "plain.toml"
    settings.write_text(
        to_toml({"supabase": {"url": project.url}, "journal": {"path": str(tmp_path / "j.db")}})
    )
    environment = {
        **os.environ,
        "SUPABASE_ANON_KEY": secrets["anon key"],
        "SUPABASE_SERVICE_ROLE_KEY": secrets["server key"],
        "SUPABASE_DB_URL": project.database_url,
        "CROSSFADE_SUPABASE__ACCESS_TOKEN": secrets["access token"],
        "PYTHONPATH": str(ROOT),
    }
    with watched_processes() as arguments:
        runs = [
            subprocess.run(
                [sys.executable, "-m", "crossfade.cli", *command, "--settings", str(settings)],
                env=environment | {name: secrets[value] for name, value in changed.items()},
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=60,
            )
            for command, changed in COMMANDS
        ]
    assert {run.returncode for run in runs} <= {0, 1, 2}
    printed = "\n".join(run.stdout + run.stderr for run in runs)
    assert "row_level_security" in printed
    assert "Traceback" not in printed
    assert leaks(secrets, printed) == []
    assert any("crossfade.cli" in one for one in arguments)
    assert leaks(secrets, "\n".join(arguments)) == []
    assert leaks(secrets, project.log.read_text()) == []
