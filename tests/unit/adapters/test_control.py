"""The client's translation of errors, its tokens and its time-outs."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import orjson
import pytest

from crossfade.adapters.control import ControlClient
from crossfade.core.flags import Flags
from crossfade.errors import (
    ApprovalRefused,
    ControlDenied,
    ControlUnavailable,
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


@pytest.mark.parametrize("url", ["http://localhost:port", "http://[::1"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UsageError, match=r"control.url: .* is no URL"):
        ControlClient(ControlSettings(url=url))


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
