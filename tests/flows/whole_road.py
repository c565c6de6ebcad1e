"""Every deployment started for what it is for, on a real worker (``make test-prefect``).

Not collected by a plain ``pytest``: its name is not a test's.
"""

import asyncio
import re
import time
import zipfile
from pathlib import Path
from typing import Any

import psycopg
import pytest

from crossfade.adapters.control import ControlClient
from crossfade.errors import Refused
from crossfade.local.prefect import (
    CUT_OVER,
    DECOMMISSION,
    DRILL,
    REPAIR,
    ROLLBACK,
    VALIDATE,
    WEEKS,
)
from crossfade.local.prefect_api import PrefectApi
from tests.flows.test_weeks import WAIT_S, form_of, known_runs, reach, run_of
from tests.flows.world import STAGE, STREAM, FlowWorld

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("prefect"), pytest.mark.timeout(600)]

NAME = "flights"
REVERSE_S = 2.0


def stage(name: str, share: float, **changes: Any) -> dict[str, Any]:
    return {"name": name, "percent": {"*": share}, **STAGE, **changes}


async def said(api: PrefectApi, deployment: str, **parameters: Any) -> tuple[str, str]:
    """How a run of the deployment ended, and what it said."""
    run = await api.wait(await api.run(deployment, parameters), WAIT_S)
    return run["state_type"], run["state"]["message"]


async def complete(control: ControlClient, api: PrefectApi) -> None:
    """Let the only week pass, by a person's answer to the form."""
    run_id = await api.run(WEEKS[0])
    await form_of(api, run_id)
    await api.answer(run_id, {"decision": "approve", "approver": "Ada"})
    assert (await api.wait(run_id, WAIT_S))["state_type"] == "COMPLETED"
    await reach(control, "completed")


async def test_from_the_last_week_to_the_point_of_no_return_going_back_once(
    world: FlowWorld, api: PrefectApi
) -> None:
    plan = {"stages": [stage("all", 100.0)], "reverse_s": REVERSE_S, "drill_fresh_s": 600.0}
    await asyncio.to_thread(world.fresh_rollout, **plan)
    async with world.client() as control:
        await complete(control, api)
        state, message = await said(api, CUT_OVER)
        assert (state, "no rollback drill was made yet" in message) == ("FAILED", True), message
        state, message = await said(api, DRILL, points=10.0, requested_by="Ada")
        assert state == "COMPLETED", message
        assert message.startswith("10 points were back after ")
        drilled = (await control.rollout() or {})["last_drill"]
        assert (drilled["points"], drilled["passed"]) == (10.0, True)

        assert await said(api, CUT_OVER) == ("COMPLETED", "dry run: it would be cut over")
        await reach(control, "completed")
        state, message = await said(api, CUT_OVER, dry_run=False, confirm="other")
        assert (state, "type the rollout's name" in message) == ("FAILED", True), message
        typed = {"dry_run": False, "confirm": NAME, "requested_by": "Ada"}
        assert await said(api, CUT_OVER, **typed) == ("COMPLETED", "it is cut over")
        await reach(control, "cut_over")

        # Going back is possible, and goes on afterwards.
        state, message = await said(api, ROLLBACK, reason="once more", requested_by="Ada")
        assert (state, "journal × websocket: pass" in message) == ("COMPLETED", True), message
        assert (await reach(control, "rolled_back"))["percentages"]["served"] == {"*": 0.0}
        await control.command(
            "resume", actor="cli:Ada", stage=0, attempt=1, root_cause="none", fix="none"
        )
        await complete(control, api)
        assert await said(api, CUT_OVER, **typed) == ("COMPLETED", "it is cut over")
        deadline_us = (await reach(control, "cut_over"))["deadline_us"]
        await asyncio.sleep(max(0.0, deadline_us / 1e6 - time.time()) + 0.1)
        assert await said(api, DECOMMISSION) == ("COMPLETED", "dry run: it would be decommissioned")
        await reach(control, "cut_over")
        assert await said(api, DECOMMISSION, **typed) == ("COMPLETED", "it is decommissioned")
        flags = await control.flags()
        assert flags.decommissioned
        state, message = await said(api, ROLLBACK, reason="too late")
        assert (state, "no way back" in message) == ("FAILED", True), message
        given = {row["verb"]: row["actor"] for row in await control.audit(limit=1_000)}
        for verb in ("drill", "cut_over", "decommission"):
            assert given[verb].startswith("flow-run:"), verb
            assert given[verb].endswith(" for Ada"), verb


async def test_a_week_that_starts_by_itself_and_a_rollback_of_some(
    world: FlowWorld, api: PrefectApi
) -> None:
    stages = [
        stage("first", 10.0, promote="automation"),
        stage("second", 60.0, start="automation"),
    ]
    await asyncio.to_thread(world.fresh_rollout, stages=stages)
    async with world.client() as control:
        before = await known_runs(api, WEEKS[1])
        first = await api.run(WEEKS[0])
        second = await run_of(api, WEEKS[1], before)
        assert (await api.wait(first, WAIT_S))["state_type"] == "COMPLETED"
        await form_of(api, second)
        waiting = await reach(control, "awaiting_approval")
        assert (waiting["stage"], [one["approver"] for one in waiting["approvals"]]) == (
            1,
            ["automation"],
        )
        assert await known_runs(api, WEEKS[1]) - before == {second}

        state, message = await said(
            api, ROLLBACK, reason="complaints", scope=["critical"], to=20.0, requested_by="Ada"
        )
        assert state == "COMPLETED", message
        back = await reach(control, "rolled_back")
        assert back["percentages"]["served"] == {"*": 60.0, "critical": 20.0}
        incident = (await control.incidents())[0]
        checks = {one["name"]: one for one in incident["figures"]["checks"]}
        # Judged partition by partition: these moved, and nobody else did.
        assert (checks["on_realtime"]["value"], checks["besides"]["value"]) == (0.0, 0.0)
        assert checks["besides"]["verdict"] == "pass"
        assert (await api.wait(second, WAIT_S))["state_type"] == "CANCELLED"
        bundle = Path(incident["figures"]["bundle"].partition(":")[2])
        assert bundle == world.folder / "incidents" / f"{incident['id']}.zip"
        with zipfile.ZipFile(bundle) as archive:
            names = {Path(name).name for name in archive.namelist()}
            story = archive.read(f"{incident['id']}/timeline.md").decode()
        assert names >= {"incident.json", "discrepancies.json", "telemetry.json", "versions.json"}
        assert "rolling_back → rolled_back" in story
        assert str(bundle) in (await api.artifacts("incident"))[0]["data"]


async def test_a_rollback_widened_while_its_flow_waits_is_one_and_verified_as_a_whole(
    world: FlowWorld, api: PrefectApi
) -> None:
    stages = [stage("only", 60.0)]
    await asyncio.to_thread(world.fresh_rollout, stages=stages)
    async with world.client() as control:
        week = await api.run(WEEKS[0])
        form = await form_of(api, week)
        before = await known_runs(api, ROLLBACK)
        # Nobody follows: the flow of the first rollback can not end before the second.
        world.cast.follow = False
        await control.command("rollback", actor="cli:Ada", reason="some complaints", to=20.0)
        back = await run_of(api, ROLLBACK, before)
        first = await reach(control, "rolling_back")
        assert (await api.wait(week, WAIT_S))["state_type"] == "CANCELLED"
        await control.command(
            "breach", actor="monitor", reason="worse", measurements=[], stage=0, attempt=1
        )
        wider = await reach(control, "rolling_back")
        assert wider["incident_id"] == first["incident_id"]
        assert wider["percentages"]["served"] == {"*": 0.0}
        # Nor does the form that waited approve anything any more, by whatever way.
        with pytest.raises(Refused):
            await control.command(
                "approve", actor="cli:Ada", stage=0, attempt=1, approver="Ada",
                evidence_hash=re.findall(r"[0-9a-f]{64}", form.description)[0],
            )  # fmt: skip
        world.cast.follow = True
        run = await api.wait(back, WAIT_S)
        assert run["state_type"] == "COMPLETED", run["state"]["message"]
        await reach(control, "rolled_back")
        incident = (await control.incidents())[0]
        assert incident["figures"]["checks"][0]["name"] == "flags_followed"
        assert [one["reason"] for one in incident["changes"] if "reason" in one] == ["worse"]
        assert await known_runs(api, ROLLBACK) - before == {back}, "one rollback, one run"


async def test_what_a_validation_found_is_repaired(rollout: FlowWorld, api: PrefectApi) -> None:
    where = "topic = %s AND partition = %s AND sequence = 7"
    with psycopg.connect(rollout.project.database_url, autocommit=True) as connection:
        deleted = connection.execute(
            f"DELETE FROM crossfade.events WHERE {where}",
            (STREAM.topic, STREAM.partition),
        )
        assert deleted.rowcount == 1
    state, message = await said(api, VALIDATE)
    assert (state, "1 discrepancies" in message) == ("FAILED", True), message
    assert await said(api, REPAIR) == ("FAILED", "1 events lacking; afterwards: fail")
    done = await said(api, REPAIR, dry_run=False)
    assert done == ("COMPLETED", "1 events copied; afterwards: pass")
    assert await said(api, REPAIR) == (
        "COMPLETED",
        "the last reconciliation found nothing to repair",
    )
    assert "Repair of what reconciliation" in (await api.artifacts("repair"))[0]["data"]
