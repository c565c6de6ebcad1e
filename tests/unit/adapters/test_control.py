"""The client's translation of errors, its time-outs, and the follower of flags."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from crossfade.adapters.control import ControlClient
from crossfade.adapters.flag_follower import FlagFollower
from crossfade.core.flags import Flags
from crossfade.errors import (
    ApprovalRefused,
    Closed,
    ControlDenied,
    ControlUnavailable,
    CrossfadeError,
    Refused,
    UsageError,
    VersionConflict,
)
from crossfade.settings import ControlSettings
from tests.rollouts import publisher_report

Answer = Callable[[httpx.Request], Awaitable[httpx.Response]]
FLAGS = Flags(version=3, served={"*": 10.0}, written={"*": 10.0})


class Server(httpx.AsyncBaseTransport):
    """Answers what the test says and keeps what was asked."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        return await self.answer(request)


def always(status: int, body: Any = None, raw: bytes | None = None) -> Answer:
    async def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=orjson.dumps(body) if raw is None else raw)

    return answer


def client_of(answer: Answer, **changes: Any) -> tuple[ControlClient, Server]:
    settings = ControlSettings.model_validate(
        {"url": "http://control.test/", "operator_token": "op", "instance_token": "in", **changes}
    )
    server = Server(answer)
    return ControlClient(settings, "operator", transport=server), server


@pytest.mark.parametrize(
    ("answer", "error", "why"),
    [
        (always(409, {"error": "no", "code": "refused"}), Refused, "no"),
        (always(409, {"error": "no"}), Refused, "no"),
        (always(409, {"error": "no", "code": "version_conflict"}), VersionConflict, "no"),
        (always(409, {"error": "no", "code": "approval_refused"}), ApprovalRefused, "no"),
        (always(400, {"error": "bad field"}), UsageError, "bad field"),
        (always(404, {"error": "there is none"}), UsageError, "there is none"),
        (always(401, {"error": "token"}), ControlDenied, "token"),
        (always(403, {"error": "token"}), ControlDenied, "token"),
        (always(503, {"error": "database"}), ControlUnavailable, "database"),
        (always(429, {"error": "later"}), ControlUnavailable, "later"),
        (always(502, raw=b"<html>"), ControlUnavailable, "502 without JSON"),
        (always(200, raw=b"<html>"), ControlUnavailable, "200 without JSON"),
        (always(200, [1]), ControlUnavailable, "not an object"),
        (always(500, ["x"]), ControlUnavailable, "status 500"),
    ],
)
async def test_errors_are_translated(answer: Answer, error: type[Exception], why: str) -> None:
    client, _ = client_of(answer)
    async with client:
        with pytest.raises(error, match=why) as found:
            await client.status()
    assert type(found.value) is error


async def test_nobody_there() -> None:
    async with ControlClient(ControlSettings(url="http://127.0.0.1:1")) as client:
        with pytest.raises(ControlUnavailable, match=r"control server http://127\.0\.0\.1:1"):
            await client.flags()


async def test_every_call_has_a_time_out() -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    client, _ = client_of(never, timeout_s=0.05)
    async with client:
        for call in (
            client.status(),
            client.report(publisher_report(1)),
            client.flags(1, wait_s=0.05),
        ):
            with pytest.raises(ControlUnavailable, match="did not answer within"):
                await call


async def test_what_is_sent() -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=orjson.dumps({"hash": "h"}))

    client, server = client_of(answer)
    async with client:
        await client.command("rollback", actor="cli:ada", reason="x", scope=["critical"], to=5)
        await client.decision(2, 3)
        assert await client.reconciliation({"verdict": "pass"}) == "h"
        await client.report(publisher_report(7))
    command, decision, _, report = server.requests
    assert command.headers["Authorization"] == "Bearer op"
    assert orjson.loads(command.content) == {
        "verb": "rollback",
        "actor": "cli:ada",
        "stage": None,
        "attempt": None,
        "reason": "x",
        "scope": ["critical"],
        "to": 5,
    }
    assert str(decision.url) == "http://control.test/v1/rollout/decision?stage=2&attempt=3"
    assert orjson.loads(report.content) == publisher_report(7).to_json()
    assert all("op" not in str(request.url.query) for request in server.requests)


async def test_an_instance_sends_its_own_token() -> None:
    server = Server(always(200, FLAGS.to_json()))
    settings = ControlSettings.model_validate({"operator_token": "op", "instance_token": "in"})
    async with ControlClient(settings, transport=server) as client:
        await client.flags()
    assert server.requests[0].headers["Authorization"] == "Bearer in"


@pytest.mark.parametrize("body", [{}, {"version": "x"}, [], None])
async def test_flags_that_can_not_be_read(body: Any) -> None:
    client, _ = client_of(always(200, body))
    async with client:
        with pytest.raises(ControlUnavailable, match="flags can not be read"):
            await client.flags()


class FlagServer:
    """Long polls, and outages, as the test says."""

    def __init__(self) -> None:
        self.flags = FLAGS
        self.down: CrossfadeError | None = None
        self.polls: list[int] = []
        self.changed = asyncio.Event()

    def set(self, **changes: Any) -> None:
        self.flags = replace(self.flags, **changes)
        self.changed.set()

    async def answer(self, request: httpx.Request) -> httpx.Response:
        after = int(request.url.params["after"])
        wait_s = float(request.url.params["wait_s"])
        self.polls.append(after)
        if self.down:
            raise httpx.ConnectError("gone")
        if self.flags.version <= after and wait_s:
            self.changed.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self.changed.wait()
            except TimeoutError:
                pass
            if self.down:
                raise httpx.ReadError("cut off")
        return httpx.Response(200, content=orjson.dumps(self.flags.to_json()))


def follower_of(server: FlagServer, **changes: Any) -> FlagFollower:
    client, _ = client_of(server.answer)
    return FlagFollower(client, retry_initial_s=0.005, retry_max_s=0.02, **changes)


async def test_it_follows() -> None:
    server = FlagServer()
    async with asyncio.timeout(10), follower_of(server) as follower:
        assert follower.flags == Flags(), "nobody is in the cohort before anything is known"
        assert await follower.newer(0) == FLAGS
        assert follower.connected
        server.set(version=4, served={"*": 50.0})
        assert (await follower.newer(3)).served == {"*": 50.0}
        assert follower.flags.version == 4


async def test_the_last_known_flags_survive_an_outage() -> None:
    server = FlagServer()
    async with asyncio.timeout(10), follower_of(server) as follower:
        await follower.newer(0)
        server.down = ControlUnavailable("x")
        server.changed.set()
        polls = len(server.polls)
        while len(server.polls) < polls + 4:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        assert follower.flags == FLAGS
        assert not follower.connected
        server.down = None
        server.set(version=9)
        assert (await follower.newer(3)).version == 9
        assert follower.connected


async def test_a_restart_without_the_server_has_the_cached_flags(tmp_path: Path) -> None:
    server, cache = FlagServer(), tmp_path / "flags.json"
    async with asyncio.timeout(10), follower_of(server, cache=cache) as follower:
        await follower.newer(0)
        while not cache.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    server.down = ControlUnavailable("x")
    async with follower_of(server, cache=cache) as follower:
        assert follower.flags == FLAGS
        assert await follower.newer(0) == FLAGS
    assert not cache.with_name("flags.json.new").exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"version": 9}'])
async def test_a_broken_cache_is_ignored(tmp_path: Path, content: bytes) -> None:
    cache = tmp_path / "flags.json"
    cache.write_bytes(content)
    server = FlagServer()
    async with asyncio.timeout(10), follower_of(server, cache=cache) as follower:
        assert follower.flags == Flags()
        assert await follower.newer(0) == FLAGS


async def test_a_cache_that_can_not_be_written_does_not_stop_it(tmp_path: Path) -> None:
    server = FlagServer()
    async with asyncio.timeout(10), follower_of(server, cache=tmp_path / "no" / "x") as follower:
        await follower.newer(0)
        server.set(version=4)
        assert (await follower.newer(3)).version == 4


async def test_older_flags_never_replace_newer_ones() -> None:
    server = FlagServer()
    async with asyncio.timeout(10), follower_of(server, wait_s=0.01) as follower:
        await follower.newer(0)
        server.set(version=2, served={"*": 100.0})
        polls = len(server.polls)
        while len(server.polls) < polls + 3:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        assert follower.flags == FLAGS


async def test_closing_wakes_who_waits() -> None:
    server = FlagServer()
    async with asyncio.timeout(10):
        async with follower_of(server) as follower:
            await follower.newer(0)
            waiting = asyncio.create_task(follower.newer(99))
            await asyncio.sleep(0)
        with pytest.raises(Closed):
            await waiting
        with pytest.raises(Closed):
            await follower.newer(99)


async def test_a_server_that_answers_at_once_is_not_asked_in_a_tight_loop() -> None:
    async def at_once(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=orjson.dumps(FLAGS.to_json()))

    client, server = client_of(at_once)
    async with FlagFollower(client, retry_initial_s=0.2) as follower:
        await follower.newer(0)
        await asyncio.sleep(0.2)
    # Pauses are uniform up to 0.2 s; without them it would be hundreds.
    assert len(server.requests) < 50
