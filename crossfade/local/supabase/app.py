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
from starlette.websockets import WebSocket

from crossfade.local.supabase.admin import Admin
from crossfade.local.supabase.broadcast_api import BroadcastApi
from crossfade.local.supabase.channels import Topics
from crossfade.local.supabase.database import Pool
from crossfade.local.supabase.faults import FaultMiddleware, Faults
from crossfade.local.supabase.gateway import Gateway
from crossfade.local.supabase.quotas import Quotas
from crossfade.local.supabase.replication import Replication
from crossfade.local.supabase.rest import Rest
from crossfade.local.supabase.sessions import Limits, Shared
from crossfade.local.supabase.socket import RealtimeSocket

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
    limits: Limits,
    quotas: Quotas,
) -> StandIn:
    """Put the stand-in together. Nothing connects before the application's start-up."""
    faults = Faults()
    gateway = Gateway(jwt_secret, anon_key, service_role_key)
    rest_pool = Pool(database_url, size=_REST_CONNECTIONS, authenticator=True)
    realtime_pool = Pool(database_url, size=_REALTIME_CONNECTIONS, authenticator=False)
    topics = Topics(faults, quotas)
    shared = Shared(gateway, realtime_pool, topics, quotas, limits)
    replication = Replication(database_url, topics, faults)
    rest = Rest(gateway, rest_pool)
    broadcasts = BroadcastApi(gateway, realtime_pool, topics)
    admin = Admin(faults, shared, replication, rest_pool)

    async def websocket(socket: WebSocket) -> None:
        await RealtimeSocket(socket, shared).serve()

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await replication.start()
        _LOG.warning("stand-in for a Supabase project: for development and tests only")
        yield
        shared.closing.set()
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
                expose_headers=["content-range", "content-location", "preference-applied"],
            ),
            Middleware(FaultMiddleware, faults=faults, closing=shared.closing),
        ],
        routes=[
            Route("/rest/v1/rpc/{function}", rest.rpc, methods=["GET", "HEAD", "POST"]),
            Route(
                "/rest/v1/{table}", rest.table, methods=["GET", "HEAD", "POST", "PATCH", "DELETE"]
            ),
            WebSocketRoute("/realtime/v1/websocket", websocket),
            Route("/realtime/v1/api/broadcast", broadcasts.batch, methods=["POST"]),
            Route(
                "/realtime/v1/api/broadcast/{topic}/events/{event}",
                broadcasts.single,
                methods=["POST"],
            ),
            Route("/realtime/v1/api/ping", _ping),
            Route("/_health", admin.health),
            Route("/_faults", admin.faults, methods=["GET", "POST"]),
            Route("/_quotas", admin.quotas, methods=["GET", "POST"]),
            Route("/{rest:path}", _not_built, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ],
    )
    return StandIn(app, shared.closing)


async def _ping(_: Request) -> Response:
    return JSONResponse({"message": "Success"})


async def _not_built(request: Request) -> Response:
    message = f"{request.method} {request.url.path}: not built in this stand-in for Supabase"
    return JSONResponse({"message": message}, 501)
