"""Prefect killed at every step of a week: ``make test-prefect`` (some four minutes).

Not collected by a plain ``pytest``: its name is not a test's. SIGKILL of the worker with its
runs, of Prefect's server, of both with Supabase; afterwards the rollout stands where the facts
put it, and its audit log holds every command once.
"""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from crossfade.adapters.control import ControlClient
from crossfade.errors import PrefectUnavailable
from crossfade.local.prefect import ROLLBACK, VALIDATE, WEEKS
from crossfade.local.prefect_api import PrefectApi
from tests.flows.test_weeks import WAIT_S, form_of, known_runs, reach, run_of, until
from tests.flows.world import FlowWorld

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("prefect"), pytest.mark.timeout(600)]

WEEK = {"start": 1, "begin": 1, "preflight": 1, "applied": 1, "soaked": 1, "reconciled": 1}
OUTAGE_S = 60.0
"""Longer than every time-out of a call with all its retries."""

APPROVAL = {"decision": "approve", "approver": "Ada"}


async def verbs(control: ControlClient) -> dict[str, int]:
    return dict(Counter(row["verb"] for row in await control.audit(limit=1_000)))


async def served(control: ControlClient) -> set[float]:
    return set((await control.flags()).served.values())


@pytest.fixture
async def restored(rollout: FlowWorld) -> AsyncIterator[FlowWorld]:
    """The world, and everything of it running again whatever the test stopped."""
    yield rollout
    if rollout.project.service is None:
        rollout.project.start()
    rollout.revive()


@pytest.mark.parametrize("phase", ["preflight", "ramping", "soaking", "reconciling"])
async def test_a_worker_killed_in_a_week(
    phase: str, restored: FlowWorld, control: ControlClient, api: PrefectApi
) -> None:
    restored.cast.follow = phase not in {"preflight", "ramping"}
    run_id = await api.run(WEEKS[0])
    # A phase that passes quickly may be over when it is seen: later is a step as well.
    order = ["preflight", "ramping", "soaking", "reconciling", "awaiting_approval"]
    await reach(control, *order[order.index(phase) :])
    await asyncio.to_thread(restored.worker.kill, group=True)
    restored.cast.follow = True
    restored.worker.start()
    await form_of(api, run_id)
    await reach(control, "awaiting_approval")
    assert await verbs(control) == WEEK


async def test_a_worker_killed_while_a_person_is_asked(
    restored: FlowWorld, control: ControlClient, api: PrefectApi
) -> None:
    run_id = await api.run(WEEKS[0])
    await form_of(api, run_id)
    await asyncio.to_thread(restored.worker.kill, group=True)
    # Nothing of ours runs, and the answer is taken all the same.
    await api.answer(run_id, APPROVAL)
    restored.worker.start()
    run = await api.wait(run_id, WAIT_S)
    assert run["state"]["message"] == "week-1 was approved"
    assert (await reach(control, "ready"))["stage"] == 1
    assert await verbs(control) == {**WEEK, "approve": 1}


async def test_a_worker_killed_in_a_rollback(
    restored: FlowWorld, control: ControlClient, api: PrefectApi
) -> None:
    await form_of(api, await api.run(WEEKS[0]))
    before = await known_runs(api, ROLLBACK)
    restored.cast.follow = False
    await control.command("rollback", actor="Ada", reason="complaints")
    back = await run_of(api, ROLLBACK, before)

    async def runs() -> bool | None:
        return (await api.read(back))["state_type"] == "RUNNING" or None

    await until(runs, "the rollback's start")
    await asyncio.to_thread(restored.worker.kill, group=True)
    restored.cast.follow = True
    restored.worker.start()
    assert (await api.wait(back, WAIT_S))["state_type"] == "COMPLETED"
    await reach(control, "rolled_back")
    assert await verbs(control) == {**WEEK, "rollback": 1, "rolled_back": 1}
    assert len(await control.incidents()) == 1
    assert await known_runs(api, ROLLBACK) - before == {back}


@pytest.mark.parametrize("phase", ["soaking", "awaiting_approval"])
async def test_a_server_away_in_a_week(
    phase: str, restored: FlowWorld, control: ControlClient, api: PrefectApi
) -> None:
    restored.cast.follow = phase == "awaiting_approval"
    run_id = await api.run(WEEKS[0])
    await reach(control, "ramping" if phase == "soaking" else phase)
    if phase == "awaiting_approval":
        await form_of(api, run_id)
    await asyncio.to_thread(restored.prefect.kill, group=True)
    restored.cast.follow = True
    await asyncio.sleep(OUTAGE_S)
    with pytest.raises(PrefectUnavailable):
        await api.read(run_id)
    restored.revive()
    asked = await waiting_run(restored, control, api)
    await api.answer(asked, APPROVAL)
    assert (await api.wait(asked, WAIT_S))["state_type"] == "COMPLETED"
    assert (await reach(control, "ready"))["stage"] == 1
    assert await verbs(control) == {**WEEK, "approve": 1}


async def test_server_worker_and_supabase_dead_at_once(
    restored: FlowWorld, control: ControlClient, api: PrefectApi
) -> None:
    await form_of(api, await api.run(WEEKS[0]))
    before = await known_runs(api, ROLLBACK)
    await asyncio.to_thread(restored.worker.kill, group=True)
    await asyncio.to_thread(restored.prefect.kill, group=True)
    await asyncio.to_thread(restored.project.stop, signal.SIGKILL)
    assert await served(control) == {10.0}
    restored.cast.breaker = "open"
    # Nobody of Prefect is alive: the control server alone takes everybody back.
    taken = await reach(control, "rolling_back")
    assert "breaker" in taken["reason"]
    assert await served(control) == {0.0}
    restored.cast.breaker = "closed"
    await asyncio.sleep(OUTAGE_S)
    assert (await reach(control, "rolling_back"))["incident_id"] == taken["incident_id"]
    # Supabase stays dead: what is proved is that WebSocket lacks nothing.
    restored.revive()
    back = await run_of(api, ROLLBACK, before)
    run = await api.wait(back, WAIT_S)
    assert "journal × websocket: pass" in run["state"]["message"]
    await reach(control, "rolled_back")
    assert await verbs(control) == {**WEEK, "breach": 1, "rolled_back": 1}
    assert not await api.waiting(WEEKS)


async def waiting_run(world: FlowWorld, control: ControlClient, api: PrefectApi) -> str:
    """The run that waits for an approval, which the validation may have to start anew."""
    looked: list[str] = []

    async def look() -> str | None:
        # A server that has just started, on a busy machine, turns some calls away.
        with suppress(PrefectUnavailable):
            forms = await api.waiting(WEEKS)
            if forms:
                return forms[0].run_id
            if not looked or (await api.read(looked[-1]))["state_type"] == "COMPLETED":
                looked.append(await api.run(VALIDATE))
        return None

    found = await until(look, "a run that asks")
    await reach(control, "awaiting_approval")
    return found
