"""The stand-in as one ASGI application."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from crossfade.local.supabase.broadcast_api import BroadcastApi
from crossfade.local.supabase.channels import Topics
from crossfade.local.supabase.database import Pool
from crossfade.local.supabase.faults import FaultMiddleware, Faults, is_loopback
from crossfade.local.supabase.gateway import Gateway, Refusal
from crossfade.local.supabase.joins import DATABASE_ERRORS
from crossfade.local.supabase.replication import Replication
from crossfade.local.supabase.rest import Rest
from crossfade.local.supabase.socket import Limits, Sockets

__all__ = ["StandIn", "build"]

_LOG = logging.getLogger(__name__)
_REST_CONNECTIONS = 12
_REALTIME_CONNECTIONS = 4


@dataclass(frozen=True, slots=True)
class StandIn:
    """The application and what ends it: ``closing`` is set before the server shuts down."""

    app: Starlette
    closing: asyncio.Event


def build(
    *,
    database_url: str,
    jwt_secret: str,
    anon_key: str,
    service_role_key: str,
    limits: Limits | None = None,
) -> StandIn:
    """Put the stand-in together. Nothing connects before the application's start-up."""
    faults = Faults()
    gateway = Gateway(jwt_secret, anon_key, service_role_key)
    rest_pool = Pool(database_url, size=_REST_CONNECTIONS, authenticator=True)
    realtime_pool = Pool(database_url, size=_REALTIME_CONNECTIONS, authenticator=False)
    topics = Topics(faults)
    sockets = Sockets(gateway, realtime_pool, topics, limits or Limits())
    replication = Replication(database_url, topics, faults)
    rest = Rest(gateway, rest_pool)
    broadcasts = BroadcastApi(gateway, realtime_pool, topics)
    admin = _Admin(faults, sockets, replication, rest_pool)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await replication.start()
        _LOG.warning("stand-in for a Supabase project: for development and tests only")
        yield
        sockets.closing.set()
        await replication.close()
        await rest_pool.close()
        await realtime_pool.close()

    app = Starlette(
        lifespan=lifespan,
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=["content-range"],
            ),
            Middleware(FaultMiddleware, faults=faults, closing=sockets.closing),
        ],
        routes=[
            Route("/rest/v1/rpc/{function}", rest.rpc, methods=["GET", "POST"]),
            Route("/rest/v1/{table}", rest.table, methods=["GET"]),
            WebSocketRoute("/realtime/v1/websocket", sockets.endpoint),
            Route("/realtime/v1/api/broadcast", broadcasts.batch, methods=["POST"]),
            Route(
                "/realtime/v1/api/broadcast/{topic}/events/{event}",
                broadcasts.single,
                methods=["POST"],
            ),
            Route("/realtime/v1/api/ping", _ping),
            Route("/_health", admin.health),
            Route("/_faults", admin.faults, methods=["GET", "POST"]),
            Route("/{rest:path}", _not_built, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ],
    )
    return StandIn(app, sockets.closing)


class _Admin:
    """Health for the supervisor, faults for tests and drills."""

    def __init__(
        self, faults: Faults, sockets: Sockets, replication: Replication, pool: Pool
    ) -> None:
        self._faults = faults
        self._sockets = sockets
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
            "sockets": len(self._sockets.open),
        }
        return JSONResponse(body, 200 if body["healthy"] else 503)

    async def faults(self, request: Request) -> Response:
        """``GET`` shows, ``POST`` changes; ``{"close_sockets": CODE}`` closes all at once."""
        if not is_loopback(request.scope):
            return JSONResponse({"message": "only from this machine, and no web page"}, 403)
        if request.method == "POST":
            try:
                values = dict(await request.json())
                code = values.pop("close_sockets", None)
                if code is not None and not (isinstance(code, int) and 1000 <= code < 5000):
                    raise Refusal(422, {"message": f"close_sockets={code!r}: write a close code"})
                self._faults.change(values)
            except Refusal as refused:
                return refused.response()
            except (ValueError, TypeError):
                return JSONResponse({"message": "send an object of faults"}, 422)
            if code is not None:
                for socket in list(self._sockets.open):
                    socket.close(code)
            await self._settled()
        return JSONResponse(self._faults.to_json())

    async def _settled(self) -> None:
        """Wait until a lost replication is lost, so that a test need not guess."""
        for _ in range(100):
            if self._faults.replication or not self._replication.connected.is_set():
                return
            await asyncio.sleep(0.02)


async def _ping(_: Request) -> Response:
    return JSONResponse({"message": "Success"})


async def _not_built(request: Request) -> Response:
    message = f"{request.method} {request.url.path}: not built in this stand-in for Supabase"
    return JSONResponse({"message": message}, 501)
