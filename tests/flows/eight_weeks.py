"""A plan of eight stages: all its weeks deployed, each set off by the one before it.

Part of ``make test-prefect``; not collected by a plain ``pytest``: its name is not a test's.
"""

import asyncio
import os
from typing import Any

import pytest

from crossfade.core.presets import PRESETS
from crossfade.local.prefect import DEPLOYMENTS, WEEKS, deploy, week_deployment
from crossfade.local.prefect_api import PrefectApi
from crossfade.local.stack_settings import write_settings
from tests.flows.test_weeks import WAIT_S, known_runs, reach, run_of
from tests.flows.world import LOGIN, STAGE, FlowWorld

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("prefect"), pytest.mark.timeout(600)]


def eight_weeks() -> list[dict[str, Any]]:
    """The preset, with seconds for weeks, and nobody asked."""
    stages = [{**one, **STAGE, "promote": "automation"} for one in PRESETS["eight-weeks"]()]
    return [stages[0], *({**one, "start": "automation"} for one in stages[1:])]


async def test_eight_weeks_are_deployed_and_each_sets_off_the_next(
    world: FlowWorld, api: PrefectApi
) -> None:
    stages = eight_weeks()
    prefect = world.settings.prefect
    values = {
        "rollout": {"stages": stages},
        "prefect": {"api_url": prefect.api_url, "work_pool": prefect.work_pool, "auth": LOGIN},
        "reconcile": {"every_s": 86_400.0},
    }
    file = world.folder / "eight-weeks.toml"
    await asyncio.to_thread(write_settings, values, file)
    await deploy(world.home, prefect, file, inherited=os.environ)
    weeks = [week_deployment(number) for number in range(len(stages))]
    found = await api.deployments()
    assert set(found) == {*weeks, *DEPLOYMENTS[len(WEEKS) :]}
    assert [found[name]["parameters"]["stage"] for name in weeks] == list(range(8))
    assert "Stage 8 of 8, week-8" in found[weeks[7]]["description"]

    await asyncio.to_thread(world.fresh_rollout, stages=stages)
    before = {name: await known_runs(api, name) for name in weeks}
    await api.run(weeks[0])
    async with world.client() as control:
        for name in weeks:
            run = await api.wait(await run_of(api, name, before[name]), WAIT_S)
            assert run["state_type"] == "COMPLETED", (name, run["state"]["message"])
        completed = await reach(control, "completed")
    assert [one["stage"] for one in completed["approvals"]] == list(range(8))
    assert {
        name: len(await known_runs(api, name) - before[name]) for name in weeks
    } == dict.fromkeys(weeks, 1)
