"""A call that finds SQLite locked is made again; everything else passes as it came."""

from collections.abc import MutableMapping
from typing import Any

import pytest

from tasks.server import ATTEMPTS, MAX_BODY_BYTES, RetryUnavailable

Message = MutableMapping[str, Any]


class Locked(Exception):
    """What the server's outermost frame raises after its 503, for the log."""


class App:
    """Answers with the given statuses, one a call, and keeps what it was called with."""

    def __init__(self, *statuses: int, raises: bool = True) -> None:
        self._statuses = list(statuses)
        self._raises = raises
        self.bodies: list[bytes] = []
        self.scopes: list[Message] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(dict(scope))
        scope["path"] = "changed by the route"
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(body)
        status = self._statuses.pop(0)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": str(len(self.bodies)).encode()})
        if status >= 500 and self._raises:
            raise Locked


class Call:
    """One call of a client: what it sends, what it is answered, how often was waited."""

    def __init__(self, app: Any, *parts: bytes, method: str = "POST", kind: str = "http") -> None:
        self._middleware = RetryUnavailable(app, self._pause)
        self._scope = {"type": kind, "method": method, "path": "/resume"}
        self._parts = [
            {"type": "http.request", "body": part, "more_body": at < len(parts)}
            for at, part in enumerate(parts, 1)
        ]
        self.sent: list[Message] = []
        self.pauses: list[int] = []

    async def run(self) -> "Call":
        await self._middleware(self._scope, self._receive, self._send)
        return self

    @property
    def statuses(self) -> list[int]:
        return [one["status"] for one in self.sent if one["type"] == "http.response.start"]

    @property
    def body(self) -> bytes:
        return b"".join(one.get("body", b"") for one in self.sent)

    async def _receive(self) -> Message:
        return self._parts.pop(0) if self._parts else {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)

    async def _pause(self, attempt: int) -> None:
        self.pauses.append(attempt)


async def test_a_refused_call_is_made_again_with_its_whole_body() -> None:
    app = App(503, 503, 201)
    call = await Call(app, b"half ", b"whole").run()
    assert (call.statuses, call.body) == ([201], b"3")
    assert app.bodies == [b"half whole"] * 3
    assert [scope["path"] for scope in app.scopes] == ["/resume"] * 3
    assert call.pauses == [1, 2]


@pytest.mark.parametrize("raises", [True, False])
async def test_the_last_refusal_is_the_answer(raises: bool) -> None:
    app = App(*[503] * ATTEMPTS, raises=raises)
    call = Call(app, b"x")
    if raises:
        with pytest.raises(Locked):
            await call.run()
    else:
        await call.run()
    assert (call.statuses, len(app.bodies)) == ([503], ATTEMPTS)


@pytest.mark.parametrize("status", [200, 201, 401, 404, 409, 422, 500])
async def test_any_other_answer_passes_once(status: int) -> None:
    app = App(status)
    call = Call(app, b"x")
    if status == 500:
        with pytest.raises(Locked):
            await call.run()
    else:
        await call.run()
    assert (call.statuses, len(app.bodies), call.pauses) == ([status], 1, [])


async def test_a_call_that_only_reads_is_not_made_again() -> None:
    app = App(503, raises=False)
    assert (await Call(app, b"", method="GET").run()).statuses == [503]


async def test_a_long_body_passes_as_it_comes_and_is_not_kept() -> None:
    app = App(503, raises=False)
    parts = (b"a" * MAX_BODY_BYTES, b"b", b"c" * 1_000)
    call = await Call(app, *parts).run()
    assert (call.statuses, app.bodies) == ([503], [b"".join(parts)])
    kept = App(503, 201)
    assert (await Call(kept, b"a" * MAX_BODY_BYTES).run()).statuses == [201]


async def test_a_web_socket_passes() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["type"], (await receive())["type"]))

    await Call(app, b"x", kind="websocket").run()
    assert seen == [("websocket", "http.request")]


async def test_what_fails_without_an_answer_is_not_swallowed() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise Locked

    call = Call(app, b"x")
    with pytest.raises(Locked):
        await call.run()
    assert call.pauses == []
