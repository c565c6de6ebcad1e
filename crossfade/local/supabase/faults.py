"""Faults that tests and drills switch on: ``POST /_faults``, from the loopback only."""

import asyncio
from dataclasses import asdict, dataclass, fields
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from crossfade.local.supabase.gateway import Refusal

__all__ = ["FaultMiddleware", "Faults", "is_loopback"]

_LOOPBACK = {"127.0.0.1", "::1"}


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

    def drops_live(self) -> bool:
        return self.drop_live

    def change(self, values: Any) -> None:
        """Set the faults that ``values`` names.

        Raises:
            Refusal: 422, an unknown name or a value of another type; nothing is changed.
        """
        known = {item.name: type(getattr(self, item.name)) for item in fields(self)}
        if not isinstance(values, dict):
            raise Refusal(422, {"message": "send an object of faults"})
        for name, value in values.items():
            if known.get(name) is not type(value) or (name == "slow_ms" and value < 0):
                kinds = ", ".join(f"{key}: {kind.__name__}" for key, kind in known.items())
                raise Refusal(422, {"message": f"{name}={value!r}: the faults are {kinds}"})
        for name, value in values.items():
            setattr(self, name, value)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


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


def is_loopback(scope: Scope) -> bool:
    """Whether the caller is on this machine and no web page (those send an Origin)."""
    client = scope.get("client")
    origin = any(name == b"origin" for name, _ in scope["headers"])
    return client is not None and client[0] in _LOOPBACK and not origin
