"""The stand-in's own calls: health for the supervisor, faults and quotas for tests and drills.

They answer on the loopback only, and to no web page (those send an ``Origin``).
"""

import asyncio
from dataclasses import asdict, fields
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from crossfade.local.supabase.database import Pool
from crossfade.local.supabase.expiry import EXPIRED
from crossfade.local.supabase.faults import Faults
from crossfade.local.supabase.gateway import Refusal
from crossfade.local.supabase.joins import DATABASE_ERRORS
from crossfade.local.supabase.quotas import Quotas
from crossfade.local.supabase.replication import Replication
from crossfade.local.supabase.sessions import Shared
from crossfade.local.supabase.tokens import Claims

__all__ = ["Admin", "change"]

_LOOPBACK = {"127.0.0.1", "::1"}


def change(switches: Faults | Quotas, values: Any) -> None:
    """Set the switches that ``values`` names.

    Raises:
        Refusal: 422, an unknown name or a value of another type; nothing is changed.
    """
    if not isinstance(values, dict):
        raise Refusal(422, {"message": "send an object of switches"})
    known = {item.name: type(getattr(switches, item.name)) for item in fields(switches)}
    for name, value in values.items():
        kind = known.get(name)
        negative = isinstance(value, int | float) and value < 0
        if kind is not type(value) or negative or (kind is float and not value):
            kinds = ", ".join(f"{key}: {one.__name__}" for key, one in known.items())
            raise Refusal(422, {"message": f"{name}={value!r}: the switches are {kinds}"})
    for name, value in values.items():
        setattr(switches, name, value)


class Admin:
    """``/_health``, ``/_faults``, ``/_quotas``."""

    def __init__(
        self, faults: Faults, shared: Shared, replication: Replication, pool: Pool
    ) -> None:
        self._faults = faults
        self._shared = shared
        self._replication = replication
        self._pool = pool

    async def health(self, _: Request) -> Response:
        """200 when the database answers and rows are heard of; no key needed."""
        try:
            async with self._pool.connection() as connection:
                await connection.execute("select 1")
            database = True
        except DATABASE_ERRORS:
            database = False
        replication = self._replication.connected.is_set()
        body = {
            "healthy": database and replication,
            "db_connected": database,
            "replication_connected": replication,
            "sockets": len(self._shared.sessions),
        }
        return JSONResponse(body, 200 if body["healthy"] else 503)

    async def faults(self, request: Request) -> Response:
        """``GET`` shows, ``POST`` changes the faults that it names. Besides these it knows what
        happens once: ``{"close_sockets": CODE}``, ``{"disconnect": true}`` (the real server's
        request to come back), ``{"expire_tokens": true}``."""
        return await self._switch(request, self._faults)

    async def quotas(self, request: Request) -> Response:
        """``GET`` shows, ``POST`` changes the limits that it names; rates begin anew."""
        return await self._switch(request, self._shared.quotas)

    async def _switch(self, request: Request, switches: Faults | Quotas) -> Response:
        if not _is_loopback(request.scope):
            return JSONResponse({"message": "only from this machine, and no web page"}, 403)
        if request.method == "POST":
            try:
                values = dict(await request.json())
                once = _once(values) if isinstance(switches, Faults) else {}
                change(switches, values)
            except Refusal as refused:
                return refused.response()
            except (ValueError, TypeError):
                return JSONResponse({"message": "send an object of switches"}, 422)
            self._happen(once)
            if isinstance(switches, Quotas):
                self._shared.topics.restart_rates()
            await self._settled()
        return JSONResponse(asdict(switches))

    def _happen(self, once: dict[str, Any]) -> None:
        if once.get("expire_tokens"):
            gateway = self._shared.gateway
            gateway.expire_tokens()
            for channel in self._shared.topics.all():
                identity = channel.identity
                if gateway.is_expired(Claims(identity.role, 0, identity.claims)):
                    channel.expel(EXPIRED)
        for session in list(self._shared.sessions):
            if once.get("disconnect"):
                session.disconnect()
            elif "close_sockets" in once:
                session.close(once["close_sockets"])

    async def _settled(self) -> None:
        """Wait until a lost replication is lost, so that a test need not guess."""
        for _ in range(100):
            if self._faults.replication or not self._replication.connected.is_set():
                return
            await asyncio.sleep(0.02)


def _once(values: dict[str, Any]) -> dict[str, Any]:
    """Take what happens once out of ``values``.

    Raises:
        Refusal: 422, a value that makes no sense.
    """
    once: dict[str, Any] = {
        name: values.pop(name)
        for name in ("close_sockets", "disconnect", "expire_tokens")
        if name in values
    }
    for name, value in once.items():
        if name == "close_sockets":
            fits = type(value) is int and 1000 <= value < 5000
        else:
            fits = isinstance(value, bool)
        if not fits:
            raise Refusal(422, {"message": f"{name}={value!r}: write a close code, or true"})
    return once


def _is_loopback(scope: Scope) -> bool:
    client = scope.get("client")
    origin = any(name == b"origin" for name, _ in scope["headers"])
    return client is not None and client[0] in _LOOPBACK and not origin
