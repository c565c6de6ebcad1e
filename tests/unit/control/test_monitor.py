"""The monitor outlives everything, and looks by itself."""

import asyncio
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from crossfade.control.monitor import Monitor
from tests.unit.control.conftest import Running
from tests.unit.control.test_app import Week, phase_is


async def test_it_looks_every_monitor_s(running: Running) -> None:
    async with running(control={"monitor_s": 0.02}) as (server, client, clock):
        week = Week(server, client, clock)
        await week.start()
        await week.until("reconcile")
        clock.advance(61)
        await phase_is(client, "held")


@pytest.mark.parametrize("error", [OperationalError("x", {}, Exception("gone")), KeyError("odd")])
async def test_a_failing_look_does_not_end_it(
    running: Running, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(control={"monitor_s": 0.02}) as (server, client, clock):
        service, failures = server.service, 0
        real = service.store.current

        def flaky() -> Any:
            nonlocal failures
            failures += 1
            if failures <= 3:
                raise error
            return real()

        monkeypatch.setattr(service.store, "current", flaky)
        async with asyncio.timeout(10):
            while failures <= 4:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        week = Week(server, client, clock)
        await week.start()
        await week.until("apply")
        await week.tick(2, breaker="open", probes_failed=1)
        await phase_is(client, "rolling_back")


async def test_another_server_s_change_is_seen(running: Running) -> None:
    async with running() as (server, client, clock):
        week = Week(server, client, clock)
        await week.start()
        async with running() as (_other, other_client, _):
            await other_client.command("rollback", actor="cli:ada", reason="complaints")
        assert (await client.rollout())["phase"] == "ready"
        await Monitor(server.service).look()
        assert (await client.rollout())["phase"] == "rolling_back"


async def test_telemetry_is_stored_and_pruned(running: Running) -> None:
    async with running(control={"telemetry_keep_s": 30.0}) as (server, client, clock):
        week = Week(server, client, clock)
        await week.start()
        await week.tick(4)
        monitor = Monitor(server.service)
        await monitor.look()
        stored = await client.telemetry()
        assert sum(one["reports"] for one in stored) >= 3
        assert len(server.service.records.instances()) == 3
        clock.advance(40)
        monitor._prune_at = 0.0
        await monitor.look()
        assert await client.telemetry() == []
        assert server.service.records.instances() == []


async def test_windows_that_can_not_be_stored_are_kept(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as (server, client, clock):
        week = Week(server, client, clock)
        await week.tick(3)
        service = server.service

        def fail(*_: object) -> None:
            raise OperationalError("INSERT", {}, Exception("disk full"))

        with monkeypatch.context() as patched:
            patched.setattr(service.records, "add_telemetry", fail)
            with pytest.raises(OperationalError):
                await service.save_telemetry(final=True)
        await service.save_telemetry()
        assert sum(one["reports"] for one in await client.telemetry()) == 9
