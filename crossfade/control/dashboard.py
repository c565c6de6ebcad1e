"""The dashboard's files, and what a page needs to know to reach both transports."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

import crossfade
from crossfade.local.keys import mint_token
from crossfade.settings import Settings

__all__ = [
    "PAGES",
    "TOKEN_S",
    "bundled_dashboard",
    "client_config",
    "cross_origin",
    "dashboard_routes",
    "page",
]

TOKEN_S = 3_600.0
"""How long a page's Supabase token is valid; the page fetches a fresh one before."""

PAGES = {"": "index.html", "departures": "departures.html", "data-docs": "data-docs.html"}
"""The file of each page, by its path."""
_YEAR_S = 31_536_000


def bundled_dashboard() -> Path | None:
    """The folder of the built pages; None where they were not built (that needs Node)."""
    folder = Path(crossfade.__file__).parent / "_bundle" / "dashboard"
    return folder if (folder / "index.html").is_file() else None


def client_config(settings: Settings, now_us: int) -> dict[str, Any]:
    """The document of ``GET /v1/client-config`` (docs/protocol.md, section 6).

    It holds what a page may use in its person's name: the hub's token and a Supabase token of
    the role ``authenticated``, minted for ``TOKEN_S`` where the project's JWT secret is known.
    """
    supabase, secret = settings.supabase, settings.stack.jwt_secret.get_secret_value()
    project: dict[str, Any] | None = None
    if supabase.url:
        token, expires_us = supabase.access_token.get_secret_value(), None
        if secret:
            token = mint_token(secret, "authenticated", lifetime_s=TOKEN_S, now_s=now_us / 1e6)
            expires_us = now_us + int(TOKEN_S * 1e6)
        project = {
            "url": supabase.url,
            "anon_key": supabase.anon_key.get_secret_value(),
            "access_token": token,
            "expires_at_us": expires_us,
        }
    prefect = settings.prefect.api_url
    return {
        "at_us": now_us,
        "websocket": {
            "url": settings.websocket.url,
            # A page publishes nothing: it gets the listeners' token where there is one.
            "token": settings.websocket.subscriber_token.get_secret_value()
            or settings.websocket.token.get_secret_value(),
        },
        "supabase": project,
        "topics": settings.topics,
        "partitions": settings.rollout.partitions,
        "prefect_url": prefect.removesuffix("/").removesuffix("/api") if prefect else None,
        "version": crossfade.__version__,
    }


def cross_origin(origins: Sequence[str]) -> list[Middleware]:
    """Lets a product's own pages follow flags and report; they still need a token."""
    if not origins:
        return []
    headers = ["authorization", "content-type"]
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=headers,
        )
    ]


def dashboard_routes(folder: Path | None) -> list[BaseRoute]:
    """The routes of the built files; their names hold a hash, so they never change."""
    if folder is None:
        return []
    return [Mount("/assets", _Forever(directory=folder / "assets"), name="assets")]


def page(folder: Path, name: str, settings: Settings) -> Response:
    """One of the pages, with a policy that lets it talk to its own transports only."""
    headers = {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _policy(settings),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return FileResponse(folder / PAGES[name], headers=headers)


def _policy(settings: Settings) -> str:
    places = ["'self'", _origin(settings.websocket.url)]
    if settings.supabase.url:
        origin = _origin(settings.supabase.url)
        places += [origin, origin.replace("http", "ws", 1)]
    rules: Mapping[str, str] = {
        "default-src": "'self'",
        "connect-src": " ".join(places),
        "img-src": "'self' data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "object-src": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _origin(url: str) -> str:
    place = urlsplit(url)
    return f"{place.scheme}://{place.netloc}"


class _Forever(StaticFiles):
    """Files that may be cached for good."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if response.status_code == 200:
            response.headers["Cache-Control"] = f"public, max-age={_YEAR_S}, immutable"
        return response
