"""Weeks on a real Prefect: its server, its worker, its deployments, and its pages' calls."""

import asyncio
import base64
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import orjson
import psutil
import pytest

from crossfade.adapters.clock import SystemClock
from crossfade.adapters.control import ControlClient
from crossfade.adapters.export import Location, export_journal
from crossfade.errors import Refused
from crossfade.local.prefect import (
    BACKFILL,
    DEPLOYMENTS,
    REPAIR,
    REPORT,
    ROLLBACK,
    VALIDATE,
    WEEKS,
    database,
)
from crossfade.local.prefect_api import FINAL_STATES, Form, PrefectApi
from tests.flows.world import EVENTS, LOGIN, FlowWorld
from tests.services import ROOT

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("prefect"), pytest.mark.timeout(240)]

WAIT_S = 90.0
Found = TypeVar("Found")


async def until(look: Callable[[], Awaitable[Found | None]], what: str) -> Found:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if (found := await look()) is not None:
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"{what} did not come within {WAIT_S:g} s")


async def reach(control: ControlClient, *phases: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = await control.rollout()
        return found if found is not None and found["phase"] in phases else None

    return await until(look, f"phase {' or '.join(phases)}")


async def data_docs_of(world: FlowWorld, link: str) -> str:
    """The page of the counts that the link of a run leads to, as a browser would get it."""
    address = re.search(r"(http://[^/]+)/data-docs\?at_us=(\d+)", link)
    assert address is not None
    server, at_us = address.groups()
    token = world.settings.control.operator_token.get_secret_value()
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=server, headers=headers, trust_env=False) as browser:
        page = await browser.get(f"/v1/data-docs/{at_us}/counts")
    assert page.status_code == 200, page.text
    return page.text


async def form_of(api: PrefectApi, run_id: str, after: str = "") -> Form:
    async def look() -> Form | None:
        found = await api.form(run_id)
        if found is None:
            run = await api.read(run_id)
            assert run["state_type"] not in FINAL_STATES, run["state"]["message"]
        return found if found is not None and found.expires != after else None

    return await until(look, "the form")


async def run_of(api: PrefectApi, deployment: str, since: set[str]) -> str:
    async def look() -> str | None:
        runs = await api.runs(deployments=[deployment])
        return next((run["id"] for run in runs if run["id"] not in since), None)

    return await until(look, f"a run of {deployment}")


async def known_runs(api: PrefectApi, deployment: str) -> set[str]:
    return {run["id"] for run in await api.runs(deployments=[deployment])}


async def test_every_deployment_is_there(world: FlowWorld, api: PrefectApi) -> None:
    found = await api.deployments()
    assert set(found) == set(DEPLOYMENTS)
    assert all(one["description"] and one["tags"] for one in found.values())
    assert [found[name]["parameters"]["stage"] for name in WEEKS] == [0, 1, 2]
    limits = found[VALIDATE]["concurrency_options"]
    assert limits["collision_strategy"] == "CANCEL_NEW"
    assert found[VALIDATE]["schedules"][0]["schedule"]["interval"] == 86_400.0
    # No path of this machine is in a deployment.
    assert str(world.folder) not in str(found)
    assert all(not one["pull_steps"] for one in found.values())


async def test_a_stranger_sees_nothing_but_that_it_is_healthy(
    world: FlowWorld, api: PrefectApi
) -> None:
    login = world.settings.prefect.auth.get_secret_value()
    await asyncio.to_thread(world.fresh_rollout)
    async with httpx.AsyncClient(base_url=world.api_url, trust_env=False) as http:
        assert (await http.get("/health")).json() is True
        for auth in (None, ("crossfade", "guessed"), ("", "")):
            refused = await http.post("/flow_runs/filter", json={}, auth=auth)
            assert refused.status_code == 401
    await api.wait(await api.run(REPORT), WAIT_S)
    # Every process of this world was given the login; none shows it.
    shown = [" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])]
    assert not [line for line in shown if login in line]
    for service in (world.prefect, world.worker, world.control):
        assert login not in await asyncio.to_thread(service.log.read_text)


@pytest.mark.skipif(sys.platform != "linux", reason="forks without exec")
async def test_runs_are_forked_from_a_warm_process(world: FlowWorld) -> None:
    """Nothing that it imports has started a thread, which would forbid it."""

    async def look() -> bool | None:
        log = await asyncio.to_thread(world.worker.log.read_text)
        assert "can not fork" not in log
        return True if "warm " in log else None

    await until(look, "the warm process")


async def test_a_week_from_begin_to_approval(
    rollout: FlowWorld, control: ControlClient, api: PrefectApi
) -> None:
    run_id = await api.run(WEEKS[0])
    form = await form_of(api, run_id)
    waiting = await control.rollout()
    assert waiting is not None
    assert waiting["phase"] == "awaiting_approval"
    assert waiting["evidence_hash"] in form.description
    # The form goes away when the control server's deadline is over, not after Prefect's hour.
    expires_us = datetime.fromisoformat(form.expires).timestamp() * 1e6
    assert expires_us == pytest.approx(waiting["deadline_us"], abs=2e6)
    assert "| delivery |" in form.description
    assert set(form.required) == {"decision", "approver"}
    assert form.fields["decision"]["enum"] == ["approve", "reject", "extend"]
    assert [one.run_id for one in await api.waiting(WEEKS)] == [run_id]
    # What the page refuses, Prefect refuses.
    with pytest.raises(Refused, match="form"):
        await api.answer(run_id, {"decision": "perhaps", "approver": "Ada"})
    # Too many tickets: the control server refuses, and the form is there again.
    answer = {"decision": "approve", "approver": "Ada", "comment": "fine", "feedback": "fast"}
    await api.answer(run_id, {**answer, "tickets": 50})
    again = await form_of(api, run_id, after=form.expires)
    assert "50 support tickets" in again.description
    await api.answer(run_id, {**answer, "tickets": 2})
    run = await api.wait(run_id, WAIT_S)
    assert (run["state_type"], run["state"]["message"]) == ("COMPLETED", "week-1 was approved")
    passed = await control.rollout()
    assert passed is not None
    assert (passed["phase"], passed["stage"]) == ("ready", 1)
    approval = passed["approvals"][0]
    assert (approval["approver"], approval["tickets"]) == ("Ada", 2)
    assert approval["comment"] == "fine\nUser feedback: fast"
    assert approval["evidence_hash"] == waiting["evidence_hash"]
    table, chart = [(await api.artifacts(key))[0] for key in ("evidence", "evidence-chart")]
    assert {one["flow_run_id"] for one in (table, chart)} == {run_id}
    assert all(f"artifact/{one['id']}" in again.description for one in (table, chart))
    assert "delivery" in table["data"]
    assert chart["data"].startswith("data:image/svg+xml;base64,")
    pages = await api.artifacts("reconciliation")
    assert "120 events checked" in pages[0]["data"]


async def test_the_newest_run_asks_and_a_rejection_holds_the_rollout(
    rollout: FlowWorld, control: ControlClient, api: PrefectApi
) -> None:
    earlier = await api.run(WEEKS[0])
    await form_of(api, earlier)
    run_id = await api.run(WEEKS[0])
    await form_of(api, run_id)
    assert (await api.read(earlier))["state_type"] == "CANCELLED"
    assert [one.run_id for one in await api.waiting()] == [run_id]
    await api.answer(run_id, {"decision": "reject", "approver": "Ada", "comment": "not yet"})
    run = await api.wait(run_id, WAIT_S)
    assert run["state_type"] == "FAILED"
    assert "rejected by Ada: not yet" in run["state"]["message"]
    held = await control.rollout()
    assert held is not None
    assert held["phase"] == "held"
    assert held["approvals"] == []


async def test_a_breach_takes_back_a_waiting_week_by_itself(
    rollout: FlowWorld, control: ControlClient, api: PrefectApi
) -> None:
    week = await api.run(WEEKS[0])
    await form_of(api, week)
    before = await known_runs(api, ROLLBACK)
    rollout.project.stop(signal.SIGKILL)
    try:
        rollout.cast.breaker = "open"
        taken = await reach(control, "rolling_back", "rolled_back")
        assert "breaker" in taken["reason"]
        back = await run_of(api, ROLLBACK, before)
        run = await api.wait(back, WAIT_S)
    finally:
        rollout.project.start()
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    assert "journal × websocket: pass" in run["state"]["message"]
    assert (await api.wait(week, WAIT_S))["state_type"] == "CANCELLED"
    assert await api.form(week) is None
    rolled_back = await control.rollout()
    assert rolled_back is not None
    assert rolled_back["phase"] == "rolled_back"
    incident = (await control.incidents())[0]
    assert incident["figures"]["missing"] == 0
    assert os.path.isfile(incident["figures"]["bundle"].partition(":")[2])  # noqa: ASYNC240, PTH113
    story = (await api.artifacts("incident"))[0]["data"]
    assert f"# Incident {incident['id']}" in story
    assert "monitor: breach" in story
    assert f"crossfade incident show {incident['id']} --bundle" in story
    assert incident["figures"]["arrived_after_ms"] > 0
    assert len(await known_runs(api, ROLLBACK) - before) == 1


async def test_a_killed_worker_and_run_go_on_and_do_nothing_twice(
    rollout: FlowWorld, control: ControlClient, api: PrefectApi
) -> None:
    rollout.cast.follow = False
    run_id = await api.run(WEEKS[0])
    await reach(control, "ramping")
    rollout.worker.kill(group=True)
    assert (await api.read(run_id))["state_type"] == "RUNNING"
    rollout.cast.follow = True
    rollout.worker.start()
    await form_of(api, run_id)
    waiting = await reach(control, "awaiting_approval")
    verbs = [row["verb"] for row in await control.audit()]
    assert verbs == ["start", "begin", "preflight", "applied", "soaked", "reconciled"]
    # Decided at the control server, not in the form: the form ends when the next week begins.
    await control.command(
        "approve", actor="Ada", stage=0, attempt=1, evidence_hash=waiting["evidence_hash"],
        approver="Ada", comment="", tickets=0,
    )  # fmt: skip
    rollout.cast.follow = False
    second = await api.run(WEEKS[1])
    run = await api.wait(run_id, WAIT_S)
    assert run["state_type"] == "COMPLETED"
    assert run["state"]["message"] == "approved at the control server"
    # A person cancels a running week in Prefect: it ends, and the rollout stays where it is.
    await reach(control, "ramping")
    await api.cancel(second)
    assert (await api.wait(second, WAIT_S))["state_type"] == "CANCELLED"
    assert (await reach(control, "ramping"))["stage"] == 1


async def test_a_crashed_run_is_replaced_and_a_request_takes_it_back(
    rollout: FlowWorld, control: ControlClient, api: PrefectApi
) -> None:
    rollout.cast.follow = False
    crashed = await api.run(WEEKS[0])
    await reach(control, "ramping")
    os.kill(int((await api.read(crashed))["infrastructure_pid"]), signal.SIGKILL)
    assert (await api.wait(crashed, WAIT_S))["state_type"] == "CRASHED"
    rollout.cast.follow = True
    # The validation looks after crashed weeks; a second one that is due meanwhile is dropped.
    runs = [await api.run(name) for name in (VALIDATE, VALIDATE, BACKFILL, REPAIR, REPORT)]
    first, second, backfill, repair, report = [await api.wait(run, WAIT_S) for run in runs]
    assert {first["state_type"], second["state_type"]} == {"COMPLETED", "CANCELLED"}
    kept = first if first["state_type"] == "COMPLETED" else second
    link, picture = [
        next(one for one in await api.artifacts(key) if one["flow_run_id"] == kept["id"])
        for key in ("data-docs", "reconciliation-chart")
    ]
    assert "pages of the suites" in link["data"]
    assert "Evaluated Expectations" in await data_docs_of(rollout, link["data"])
    svg = base64.b64decode(picture["data"].removeprefix("data:image/svg+xml;base64,"))
    assert b"wrong (events, limit 0)" in svg
    assert b"nothing was reported" not in svg
    assert kept["state"]["message"].startswith("pass: 120 events checked, 0 discrepancies; ")
    assert "in place of a run that had crashed" in kept["state"]["message"]
    assert backfill["state"]["message"] == "0 events copied; afterwards: pass"
    assert repair["state"]["message"] == "the last reconciliation found nothing to repair"
    assert "0 of 3 weeks approved" in report["state"]["message"]
    week = await run_of(api, WEEKS[0], {crashed})
    await form_of(api, week)
    before = await known_runs(api, ROLLBACK)
    await control.command("rollback", actor="Ada", reason="just to be sure")
    back = await api.wait(await run_of(api, ROLLBACK, before), WAIT_S)
    assert back["state_type"] == "COMPLETED", back["state"]["message"]
    assert (await api.wait(week, WAIT_S))["state_type"] == "CANCELLED"
    assert (await reach(control, "rolled_back"))["reason"] == "just to be sure"
    assert "just to be sure" in (await api.artifacts("rollback"))[0]["data"]


def test_a_scrub_of_everything_is_shared_out_by_the_task_runner(
    world: FlowWorld, tmp_path: Path
) -> None:
    """Both stores that workers reach by URL, on threads and on a local Dask cluster."""
    export_journal(
        Path(world.settings.journal.path),
        Location(str(tmp_path / "journals")),
        segment_events=50,
        block=8,
        clock=SystemClock(),
    )
    done = subprocess.run(
        [sys.executable, "-m", "tests.flows.spread_child"],
        cwd=ROOT,
        env={
            **os.environ,
            "CROSSFADE_SETTINGS": str(world.settings_file),
            "CROSSFADE_RECONCILE__BLOCK": "8",
            "CROSSFADE_RECONCILE__JOURNALS": str(tmp_path / "journals"),
            "CROSSFADE_RECONCILE__STATE": str(tmp_path / "seals.db"),
            "PREFECT_API_URL": world.api_url,
            "PREFECT_API_AUTH_STRING": LOGIN,
            "PREFECT_HOME": str(tmp_path),
        },
        capture_output=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    for result, future in zip(
        orjson.loads(done.stdout), ("PrefectConcurrentFuture", "PrefectDaskFuture"), strict=True
    ):
        assert (result["verdict"], result["checked_events"]) == ("pass", EVENTS), result
        # 15 blocks, 4 to a share.
        assert result["shares"] == [
            [store, future, "Completed"] for store in ("journal", "supabase") for _ in range(4)
        ]
        assert result["flow_runs"] == 1
    assert done.stderr.count(b"Creating a new Dask cluster") == 1


CLICKS = 60
WRITES_EVERY_S = 0.05
"""At this rate Prefect's own command answers some of the clicks with 503."""


@contextmanager
def another_writer(file: Path) -> Iterator[None]:
    """Somebody else who writes into Prefect's database all the time."""
    stop = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(file, timeout=30)) as other:
            other.execute("CREATE TABLE busy (number INTEGER)")
            while not stop.wait(WRITES_EVERY_S):
                with other:
                    other.execute("INSERT INTO busy VALUES (1)")
            other.execute("DROP TABLE busy")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join(60)
    assert not writer.is_alive()


def test_every_click_on_resume_is_taken_while_sqlite_is_busy(world: FlowWorld) -> None:
    login = httpx.BasicAuth(*LOGIN.split(":", 1))
    with (
        another_writer(database(world.home)),
        httpx.Client(base_url=world.api_url, auth=login, timeout=60, trust_env=False) as page,
    ):

        def post(path: str, **body: object) -> httpx.Response:
            answer = page.post(path, json=body)
            assert answer.status_code in {200, 201}, (path, answer.text)
            return answer

        flow = post("/flows/", name="paused by a test").json()["id"]
        waiting = {"type": "PAUSED", "name": "Suspended"}
        runs = [
            post("/flow_runs/", flow_id=flow, state=waiting).json()["id"] for _ in range(CLICKS)
        ]
        told = [post(f"/flow_runs/{run}/resume").json()["status"] for run in runs]
        assert told == ["ACCEPT"] * CLICKS
        assert page.delete(f"/flows/{flow}").status_code == 204
