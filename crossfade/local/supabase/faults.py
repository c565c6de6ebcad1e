"""Faults that tests and drills switch on: ``POST /_faults``, from the loopback only."""

import asyncio
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["FaultMiddleware", "Faults"]


@dataclass(slots=True)
class Faults:
    """What is broken now.

    Attributes:
        refuse: every new request and handshake is answered 503 with a page of HTML, as a
            gateway does whose service is down.
        hang: no new request is answered while it is on (at most ``MAX_HANG_S``).
        slow_ms: every new request waits this long first.
        drop_live: no broadcast reaches anybody; joins, replies and REST go on.
        replication: False loses the replication: rows of realtime.messages that are committed
            meanwhile are never sent live, not even when it is back.
    """

    refuse: bool = False
    hang: bool = False
    slow_ms: int = 0
    drop_live: bool = False
    replication: bool = True


class FaultMiddleware:
    """Applies ``refuse``, ``hang`` and ``slow_ms`` to everything but the admin's own paths."""

    MAX_HANG_S = 300.0

    def __init__(self, app: ASGIApp, *, faults: Faults, closing: asyncio.Event) -> None:
        self._app = app
        self._faults = faults
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"].startswith("/_"):
            await self._app(scope, receive, send)
            return
        if self._faults.slow_ms:
            await asyncio.sleep(self._faults.slow_ms / 1000)
        waited = 0.0
        while self._faults.hang and waited < self.MAX_HANG_S and not self._closing.is_set():
            await asyncio.sleep(0.02)
            waited += 0.02
        if self._faults.refuse or self._closing.is_set():
            await _refuse(scope, send)
            return
        await self._app(scope, receive, send)


async def _refuse(scope: Scope, send: Send) -> None:
    prefix = "websocket.http" if scope["type"] == "websocket" else "http"
    body = b"<html><body><h1>503 Service Unavailable</h1></body></html>"
    headers = [(b"content-type", b"text/html"), (b"content-length", str(len(body)).encode())]
    await send({"type": f"{prefix}.response.start", "status": 503, "headers": headers})
    await send({"type": f"{prefix}.response.body", "body": body})
