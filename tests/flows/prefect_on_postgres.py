"""Prefect's server on PostgreSQL, set up for Kubernetes by one command (``make test-prefect``).

Not collected by a plain ``pytest``: its name is not a test's. The migrations alone take a
busy machine half a minute, and Prefect's need the extension ``pg_trgm``, which the embedded
PostgreSQL has not: this test wants one of the system's (Debian: ``postgresql``).
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from crossfade.local.addresses import HOST, free_port
from crossfade.local.prefect import DEPLOYMENTS, server
from crossfade.local.prefect_api import PrefectApi
from crossfade.settings import PrefectSettings
from tests.flows.world import LOGIN, Service
from tests.services import ROOT, Postgres, running_postgres

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

START_S = 180.0


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of the system's binaries, with a database of its own."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        pytest.skip("no PostgreSQL in /usr/lib/postgresql, and the embedded one lacks pg_trgm")
    with running_postgres(found[-1].parent) as running:
        yield running


async def test_one_command_sets_up_a_server_on_postgres(tmp_path: Path, postgres: Postgres) -> None:
    postgres_url = postgres.create_database("template1")
    port = free_port()
    section = PrefectSettings.model_validate(
        {"api_url": f"http://{HOST}:{port}/api", "auth": LOGIN, "work_pool": "fleet"}
    )
    launch = server(tmp_path, port, section, inherited=os.environ)
    database = postgres_url.replace("postgresql://", "postgresql+asyncpg://")
    environment = {**launch.environment, "PREFECT_SERVER_DATABASE_CONNECTION_URL": database}
    service = Service(launch.command, environment, tmp_path / "log")
    service.start()
    try:
        await healthy(section, service)
        settings = tmp_path / "crossfade.toml"
        settings.write_text("[reconcile]\nevery_s = 60\n", encoding="utf-8")
        deploy(environment, settings, "--type", "kubernetes", "--image", "registry/crossfade:1")
        async with PrefectApi.of(section) as api:
            assert set(await api.deployments()) == set(DEPLOYMENTS)
        pool, automations = ask(section, "GET", "/work_pools/fleet"), named(section)
        assert pool["type"] == "kubernetes"
        defaults = pool["base_job_template"]["variables"]["properties"]
        assert defaults["image"]["default"] == "registry/crossfade:1"
        assert automations == {
            "crossfade takes back after a breach",
            "crossfade takes back on request",
            "crossfade starts week 2",
            "crossfade starts week 3",
        }
        # Once more: nothing is doubled, and what is wrong is said.
        failed = deploy(environment, settings, "--type", "kubernetes", check=False)
        assert "needs the image" in failed
        deploy(environment, settings, "--type", "kubernetes", "--image", "registry/crossfade:2")
        assert named(section) == automations
    finally:
        service.end()
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute("select count(*) from deployment").fetchone()
    assert row == (len(DEPLOYMENTS),)


async def healthy(section: PrefectSettings, service: Service) -> None:
    deadline = time.monotonic() + START_S
    async with PrefectApi.of(section) as api:
        while not await api.healthy():
            assert service.process is not None
            ended = service.process.poll() is not None or time.monotonic() > deadline
            assert not ended, service.log.read_text()[-3_000:]


def deploy(environment: dict[str, str], settings: Path, *options: str, check: bool = True) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tasks.deployment", "--pool", "fleet", *options],
        env={**environment, "CROSSFADE_SETTINGS": str(settings)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode == 0) is check, done.stdout[-2_000:] + done.stderr[-2_000:]
    return done.stderr


def ask(section: PrefectSettings, method: str, path: str, body: Any = None) -> Any:
    user, _, password = LOGIN.partition(":")
    answer = httpx.request(
        method, f"{section.api_url}{path}", json=body, auth=(user, password), trust_env=False
    )
    answer.raise_for_status()
    return answer.json()


def named(section: PrefectSettings) -> set[str]:
    found = ask(section, "POST", "/automations/filter", {})
    names = [one["name"] for one in found]
    assert len(set(names)) == len(names)
    return set(names)
