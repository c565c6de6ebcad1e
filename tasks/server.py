"""Prefect's server with a busy SQLite answered for: ``python -m tasks.server --port 4200``.

The same as ``prefect server start``, but a call that finds SQLite locked is tried again here.
Prefect answers it with 503 and leaves the rest to its caller: its Python client tries again,
its page does not, so a person's **Resume** did nothing. Several of its calls (resume is one)
read before they write in one deferred transaction, which SQLite refuses at once, whatever its
time-out, when another wrote in between (https://sqlite.org/rescode.html#busy_snapshot).
With PostgreSQL behind Prefect none of this happens: start Prefect's own command there.
"""

import argparse
import asyncio
import random
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn
from prefect.server.api.server import create_app
from prefect.settings import get_current_settings
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["ATTEMPTS", "MAX_BODY_BYTES", "RetryUnavailable", "main"]

ATTEMPTS = 12
"""How often a call is made before its 503 is the answer: after 3.6 s of waiting at most."""

MAX_BODY_BYTES = 1_000_000
"""A longer request is passed on as it comes, and its 503 is the answer."""

_UNAVAILABLE = 503
_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_FIRST_S, _LONGEST_S = 0.05, 0.4

Message = MutableMapping[str, Any]


class RetryUnavailable:
    """Makes a writing call again when the answer is 503, which says that nothing was done.

    Args:
        app: the server.
        pause: waits before the attempt of this number (from 1); default: 50 ms, doubled with
            every attempt up to 400 ms, with full jitter.
    """

    def __init__(self, app: ASGIApp, pause: Callable[[int], Awaitable[None]] | None = None) -> None:
        self._app = app
        self._pause = pause or _pause

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in _WRITES:
            await self._app(scope, receive, send)
            return
        messages, whole = await _body(receive)
        for attempt in range(1, (ATTEMPTS if whole else 1) + 1):
            answer = _Answer(send, last=not whole or attempt == ATTEMPTS)
            # The app changes the scope while it finds its route.
            call = self._app(dict(scope), _again(messages, receive), answer.send)
            try:
                await call
            except Exception:
                # The frame that answered 503 raises it once more, for the log.
                if not answer.withheld:
                    raise
            if not answer.withheld:
                return
            await self._pause(attempt)


class _Answer:
    """Passes an answer on, unless it is a 503 and not the last attempt's."""

    def __init__(self, send: Send, *, last: bool) -> None:
        self.withheld = False
        self._last = last
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.withheld = message["status"] == _UNAVAILABLE and not self._last
        if not self.withheld:
            await self._send(message)


async def _body(receive: Receive) -> tuple[list[Message], bool]:
    """The request's messages up to ``MAX_BODY_BYTES``, and whether that is all of it."""
    messages: list[Message] = []
    size = 0
    while size <= MAX_BODY_BYTES:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            return messages, True
    return messages, False


def _again(messages: list[Message], receive: Receive) -> Receive:
    """Gives what was received once more, then what comes."""
    kept = iter(messages)

    async def replay() -> Message:
        for message in kept:
            return dict(message)
        return await receive()

    return replay


async def _pause(attempt: int) -> None:
    longest_s = min(_FIRST_S * 2 ** (attempt - 1), _LONGEST_S)
    await asyncio.sleep(random.uniform(0, longest_s))  # noqa: S311 - no secret


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(description="Start Prefect's server on SQLite.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4200)
    options = parser.parse_args()
    settings = get_current_settings().server
    app = create_app(final=True)
    app.add_middleware(RetryUnavailable)
    uvicorn.run(
        app,
        host=options.host,
        port=options.port,
        timeout_keep_alive=settings.api.keepalive_timeout,
        log_level=settings.logging_level.lower(),
    )


if __name__ == "__main__":
    main()
