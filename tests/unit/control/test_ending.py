"""Drill, cut-over and decommission at a real control server, with a clock that tests hold."""

import asyncio
from typing import Any

import pytest

from crossfade.drill import run_drill
from crossfade.errors import CrossfadeError, Refused
from tests.unit.control.conftest import Running
from tests.unit.control.test_app import Week, phase_is

ADA = "cli:ada"


class Driven(Week):
    """A week whose instances report whenever a drill waits for them."""

    async def drill(self, **changes: Any) -> dict[str, Any]:
        async def sleep(_: float) -> None:
            await self.tick()

        return await run_drill(self.client, actor=ADA, sleep=sleep, **changes)

    async def address(self) -> dict[str, Any]:
        rollout = await self.client.rollout()
        return {"actor": ADA, "stage": rollout["stage"], "attempt": rollout["attempt"]}

    async def started(self, **changes: Any) -> None:
        values = self.server.service.settings.rollout.model_dump(mode="json")
        await self.client.start("test", {**values, **changes}, ADA)


async def test_a_drill_is_timed_by_the_server_and_the_soak_goes_on(running: Running) -> None:
    async with running() as (server, client, clock):
        week = Driven(server, client, clock)
        await week.started()
        await week.until("apply")
        record = await week.drill(points=4.0)
        assert record["passed"]
        assert 1_000 <= record["back_ms"] <= 5_000, "seconds of the held clock"
        assert (await client.flags()).served == {"*": 10}
        rollout = await client.rollout()
        assert (rollout["phase"], rollout["last_drill"]) == ("soaking", record)
        verbs = [row["verb"] for row in await client.audit()]
        assert verbs[-3:] == ["drill", "drill_arrived", "drill_arrived"]
        await week.until("ask_approval")


async def test_a_drill_that_was_interrupted_goes_on(running: Running) -> None:
    async with running() as (server, client, clock):
        week = Driven(server, client, clock)
        await week.started()
        await week.until("apply")

        async def dies(_: float) -> None:
            raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await run_drill(client, actor=ADA, sleep=dies)
        await phase_is(client, "drilling")
        assert (await client.flags()).served == {"*": 5}
        assert (await week.drill())["passed"]
        assert (await client.flags()).served == {"*": 10}


async def test_a_breach_ends_the_drill_and_is_told(running: Running) -> None:
    async with running() as (server, client, clock):
        week = Driven(server, client, clock)
        await week.started()
        await week.until("apply")

        async def breaks(_: float) -> None:
            await client.command("rollback", actor=ADA, reason="complaints")

        with pytest.raises(CrossfadeError, match="rolling_back"):
            await run_drill(client, actor=ADA, sleep=breaks)
        with pytest.raises(Refused, match="rolling_back"):
            await week.drill()


async def test_not_everybody_in_time_is_told_with_names(running: Running) -> None:
    async with running() as (server, client, clock):
        week = Driven(server, client, clock)
        await week.started()
        await week.until("apply")

        async def silent(_: float) -> None:
            clock.advance(0.01)

        with pytest.raises(CrossfadeError, match=r"not everybody is back after 0 s: .*app-1"):
            await run_drill(client, actor=ADA, timeout_s=0.0, sleep=silent)


async def test_cut_over_back_and_to_the_end(running: Running) -> None:
    async with running() as (server, client, clock):
        week = Driven(server, client, clock)
        await week.started(drill_fresh_s=600, reverse_s=30)
        await week.until("ask_approval")
        with pytest.raises(Refused, match="crossfade drill"):
            await client.command("begin", **await week.address())
        for _ in range(2):
            await week.drill()
            await week.until("ask_approval")
        await phase_is(client, "completed")
        before = await client.rollout()
        found = await client.preview("cut_over", confirm="test", **await week.address())
        assert found["rollout"]["phase"] == "cut_over"
        assert "flags" in [fact["kind"] for fact in found["facts"]] or (
            before["percentages"]["served"] == {"*": 100}
        )
        assert await client.rollout() == before, "a preview changes nothing"
        with pytest.raises(Refused, match="type the rollout's name"):
            await client.command("cut_over", confirm="x", **await week.address())
        await week.tick()
        await client.command("cut_over", confirm="test", **await week.address())
        with pytest.raises(Refused, match="runs on for another"):
            await client.command("decommission", confirm="test", **await week.address())
        await week.tick(31)
        await client.command("decommission", confirm="test", **await week.address())
        flags = await client.flags()
        assert flags.decommissioned
        assert flags.served_percent("anything") == 100
        (last,) = [row for row in await client.audit(limit=1_000) if row["verb"] == "decommission"]
        fact = next(one for one in last["facts"] if one["kind"] == "point_of_no_return")
        assert fact["detail"]["confirmed_by"] == ADA
        with pytest.raises(Refused, match="no way back"):
            await client.command("rollback", actor=ADA, reason="regret")


async def test_automation_promotes_where_the_plan_says_so(running: Running) -> None:
    async with running(control={"monitor_s": 0.02}) as (server, client, clock):
        week = Driven(server, client, clock)
        values = server.service.settings.rollout.model_dump(mode="json")
        stages = [{**one, "promote": "automation"} for one in values["stages"]]
        await week.started(stages=stages)
        await week.until("reconcile")
        async with asyncio.timeout(10):
            while (await client.rollout())["stage"] == 0:  # noqa: ASYNC110 - over HTTP
                await asyncio.sleep(0.02)
        (approval,) = (await client.rollout())["approvals"]
        assert (approval["approver"], approval["comment"]) == ("automation", "by the plan")
