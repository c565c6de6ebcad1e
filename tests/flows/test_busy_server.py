"""What Prefect's page asks for is done, though somebody else writes into its SQLite."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from crossfade.local.prefect import database
from tests.flows.world import LOGIN, FlowWorld

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("prefect"), pytest.mark.timeout(240)]

CALLS = 60
EVERY_S = 0.05
"""At this rate Prefect's own command answers some of these calls with 503."""


@pytest.fixture
def busy(world: FlowWorld) -> Iterator[None]:
    """Another writer, for as long as the test runs."""
    stop = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(database(world.home), timeout=30)) as other:
            other.execute("CREATE TABLE busy (number INTEGER)")
            while not stop.wait(EVERY_S):
                with other:
                    other.execute("INSERT INTO busy VALUES (1)")
            other.execute("DROP TABLE busy")

    writer = threading.Thread(target=write)
    writer.start()
    yield
    stop.set()
    writer.join(60)
    assert not writer.is_alive()


def test_every_resume_is_taken_while_sqlite_is_busy(world: FlowWorld, busy: None) -> None:
    login = tuple(LOGIN.split(":", 1))
    with httpx.Client(base_url=world.api_url, auth=login, timeout=60, trust_env=False) as page:  # type: ignore[arg-type]

        def post(path: str, **body: object) -> httpx.Response:
            answer = page.post(path, json=body)
            assert answer.status_code in {200, 201}, (path, answer.text)
            return answer

        flow = post("/flows/", name="paused by a test").json()["id"]
        waiting = {"type": "PAUSED", "name": "Suspended"}
        runs = [post("/flow_runs/", flow_id=flow, state=waiting).json()["id"] for _ in range(CALLS)]
        told = [post(f"/flow_runs/{run}/resume").json()["status"] for run in runs]
        assert told == ["ACCEPT"] * CALLS
        assert page.delete(f"/flows/{flow}").status_code == 204
