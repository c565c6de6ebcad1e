"""Events reach Prefect, whatever Prefect does meanwhile, and are one event each."""

import asyncio
import base64
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pytest

from crossfade.control import prefect_outbox
from crossfade.control.records import OutboxEvent
from tests.unit.control.conftest import Running
from tests.unit.control.test_app import FLOW, Week


class Prefect(httpx.AsyncBaseTransport):
    """Stands where Prefect's API would; answers what the test says."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, Any]] = []
        self.logins: list[str | None] = []
        self.changed = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append((str(request.url), orjson.loads(await request.aread())))
        self.logins.append(request.headers.get("authorization"))
        self.changed.set()
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer, text="told so")

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not done():
                self.changed.clear()
                await self.changed.wait()

    async def settled(self, server: Any, count: int = 0) -> None:
        async with asyncio.timeout(10):
            while len(server.service.records.undelivered()) != count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect_outbox, "RETRY_INITIAL_S", 0.005)


API = {"prefect": {"api_url": "http://prefect.test/api/"}}


def test_what_a_trigger_matches_is_a_label_of_the_resource() -> None:
    payload = {"rollout_id": "r1", "rollout": "flights", "stage": 1, "starts": "automation"}
    event = OutboxEvent("e1", 1_000_000, 0, "crossfade.promoted", payload)
    told = prefect_outbox.prefect_event(event, datetime.now(UTC))
    assert told["resource"] == {
        "prefect.resource.id": "crossfade.rollout.r1",
        "prefect.resource.name": "flights",
        "crossfade.stage": "1",
        "crossfade.starts": "automation",
    }


async def test_a_breach_is_told_once(running: Running) -> None:
    prefect = Prefect()
    async with running(prefect, **API) as (server, client, clock):
        week = Week(server, client, clock)
        await week.start()
        await week.until("apply")
        await week.tick(2, breaker="open", probes_failed=1)
        await prefect.until(lambda: bool(prefect.requests))
        await prefect.settled(server)
        rollout = await client.rollout()
    ((url, (event,)),) = prefect.requests
    assert url == "http://prefect.test/api/events"
    assert event["event"] == "crossfade.breach"
    assert event["resource"]["prefect.resource.id"] == f"crossfade.rollout.{rollout['id']}"
    assert event["related"] == []
    payload = event["payload"]
    assert (payload["stage"], payload["attempt"], payload["actor"]) == (0, 1, "monitor")
    assert payload["incident_id"] == rollout["incident_id"]
    assert payload["measurements"][0]["name"] == "breaker"
    assert payload["at"].endswith("Z")


async def test_a_dead_prefect_gets_it_later_as_the_same_event(running: Running) -> None:
    prefect = Prefect(httpx.ConnectError("refused"), 503, httpx.ReadTimeout("slow"), 401)
    async with running(prefect, **API) as (server, client, clock):
        week = Week(server, client, clock)
        await week.start()
        await client.command("rollback", actor="cli:ada", reason="complaints")
        await prefect.until(lambda: len(prefect.requests) == 5)
        await prefect.settled(server)
    names = {event["event"] for _, (event,) in prefect.requests}
    assert names == {"crossfade.rollback_requested"}
    assert len({event["id"] for _, (event,) in prefect.requests}) == 1


async def test_a_locked_prefect_is_shown_the_login(running: Running) -> None:
    prefect = Prefect()
    login = "crossfade:with: a colon"
    async with running(prefect, prefect={**API["prefect"], "auth": login}) as found:
        server, client, clock = found
        await Week(server, client, clock).start()
        await client.command("rollback", actor="cli:ada", reason="complaints")
        await prefect.settled(server)
    assert prefect.logins == [f"Basic {base64.b64encode(login.encode()).decode()}"]


async def test_events_wait_for_a_prefect_that_is_not_configured_yet(running: Running) -> None:
    async with running() as (server, client, clock):
        week = Week(server, client, clock)
        await week.start()
        await client.command("rollback", actor="cli:ada", reason="complaints")
        await prefect_outbox.PrefectOutbox(server.service).run()
        assert len(server.service.records.undelivered()) == 1
    prefect = Prefect()
    async with running(prefect, **API) as (server, _, _):
        await prefect.settled(server)
    assert len(prefect.requests) == 1


async def test_what_prefect_will_never_take_does_not_block_the_rest(running: Running) -> None:
    prefect = Prefect(422)
    async with running(prefect, **API) as (server, client, clock):
        week = Week(server, client, clock)
        await week.start()
        await client.command("rollback", actor="cli:ada", reason="complaints")
        await prefect.settled(server)
        address = {"stage": 0, "attempt": 1}
        await client.command("rolled_back", actor=FLOW, **address)
        await client.command("resume", actor="cli:ada", root_cause="x", fix="y", **address)
        await client.command("rollback", actor="cli:ada", reason="again")
        await prefect.settled(server)
    told = [(one["event"], one["payload"]["reason"]) for _, (one,) in prefect.requests]
    assert told == [
        ("crossfade.rollback_requested", "complaints"),
        ("crossfade.rolled_back", "complaints"),
        ("crossfade.rollback_requested", "again"),
    ]


async def test_a_rollback_flow_s_own_command_tells_nothing(running: Running) -> None:
    prefect = Prefect()
    async with running(prefect, **API) as (server, client, clock):
        week = Week(server, client, clock)
        await week.start()
        await client.command("rollback", actor=FLOW, reason="by form")
        await client.command("rollback", actor="cli:ada", reason="the same again")
        assert server.service.records.undelivered() == []
    assert prefect.requests == []
