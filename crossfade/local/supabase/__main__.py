"""``python -m crossfade.local.supabase --settings FILE``: serves the stand-in until SIGTERM.

Exit statuses: 0 ended by a signal, 1 the database or the port is not there, 2 wrong usage.
"""

import argparse
import asyncio
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import uvicorn

from crossfade.core.plans import PLANS, plan_named
from crossfade.errors import CrossfadeError, PortTaken, SettingsError, UsageError
from crossfade.local.keys import MIN_SECRET_BYTES
from crossfade.local.supabase.app import StandIn, build
from crossfade.local.supabase.bootstrap import prepare_database
from crossfade.local.supabase.quotas import TICK_S, Quotas
from crossfade.local.supabase.sessions import Limits
from crossfade.settings import Settings, load_settings

MAX_FRAME_BYTES = 5_000_000
"""The real server closes the socket with 1009 above this."""
GRACE_S = 3


class _Server(uvicorn.Server):
    """Tells the application first, so that no delay or hanging request holds up the end."""

    def __init__(self, config: uvicorn.Config, closing: asyncio.Event) -> None:
        super().__init__(config)
        self._closing = closing

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._closing.set()
        await super().shutdown(sockets)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the options, prepare the database, serve."""
    parser = argparse.ArgumentParser(prog="python -m crossfade.local.supabase", description=__doc__)
    parser.add_argument("--settings", type=Path, required=True, help="a crossfade.toml")
    parser.add_argument(
        "--delay-scale",
        type=float,
        default=1.0,
        help="factor for the real server's delays of refusals (2 s handshake, 5 s join)",
    )
    parser.add_argument(
        "--idle-s",
        type=float,
        default=60.0,
        help="a Realtime socket that sends nothing for this long is closed",
    )
    parser.add_argument(
        "--plan",
        choices=("none", *PLANS),
        help="whose quotas of messages, joins and connections hold (default: relay.plan's)",
    )
    options = parser.parse_args(arguments)
    # uvicorn takes the signal over while it serves and hands it back at its end.
    signal.signal(signal.SIGTERM, _exit)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    try:
        settings = load_settings(options.settings, os.environ)
        with _bind(*_check(settings)) as listening:
            prepare_database(settings.supabase.database_url.get_secret_value())
            limits = Limits(delay_scale=options.delay_scale, idle_s=options.idle_s)
            quotas = _quotas(options.plan or settings.relay.plan, TICK_S * options.delay_scale)
            asyncio.run(_serve(settings, listening, limits, quotas))
    except UsageError as error:
        sys.stderr.write(f"crossfade stand-in: {error}\n")
        return 2
    except CrossfadeError as error:
        sys.stderr.write(f"crossfade stand-in: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def _quotas(plan: str, tick_s: float) -> Quotas:
    if plan in ("", "none"):
        return Quotas(tick_s=tick_s)
    return Quotas.of_plan(plan_named(plan), tick_s=tick_s)


async def _serve(
    settings: Settings, listening: socket.socket, limits: Limits, quotas: Quotas
) -> None:
    project = settings.supabase
    stand_in: StandIn = build(
        database_url=project.database_url.get_secret_value(),
        jwt_secret=settings.stack.jwt_secret.get_secret_value(),
        anon_key=project.anon_key.get_secret_value(),
        service_role_key=project.service_role_key.get_secret_value(),
        limits=limits,
        quotas=quotas,
    )
    config = uvicorn.Config(
        stand_in.app,
        ws="websockets-sansio",
        ws_max_size=MAX_FRAME_BYTES,
        ws_ping_interval=None,  # the real server sends none, either
        ws_per_message_deflate=False,
        lifespan="on",
        # Its access log would hold the key that is in a socket's URL.
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=GRACE_S,
    )
    await _Server(config, stand_in.closing).serve([listening])


def _exit(_: int, __: FrameType | None) -> None:
    raise SystemExit(0)


def _bind(host: str, port: int) -> socket.socket:
    """A socket on the address; it listens once the server has started.

    Raises:
        PortTaken: somebody else has it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only for sockets that say they are TCP; with it on, every
    # answer on a kept connection waits 40 ms for the client's delayed acknowledgement.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        if error.errno != errno.EADDRINUSE:
            raise SettingsError([f"supabase.url: {host}:{port}: {error.strerror}"]) from None
        raise PortTaken(f"port {port} for the stand-in is taken on {host}") from None
    return bound


def _check(settings: Settings) -> tuple[str, int]:
    """Host and port to bind.

    Raises:
        SettingsError: naming everything that is missing.
    """
    project = settings.supabase
    faults = [
        f"supabase.{name}: the stand-in needs it"
        for name in ("anon_key", "service_role_key", "database_url")
        if not getattr(project, name).get_secret_value()
    ]
    if len(settings.stack.jwt_secret.get_secret_value().encode()) < MIN_SECRET_BYTES:
        faults.append(f"stack.jwt_secret: must have at least {MIN_SECRET_BYTES} bytes")
    address = urlsplit(project.url)
    try:
        port = address.port
    except ValueError:
        port = None
    if address.scheme != "http" or not address.hostname or port is None:
        faults.append(f"supabase.url: {project.url!r} must be http://HOST:PORT for the stand-in")
    if faults or not address.hostname or port is None:
        raise SettingsError(faults)
    return address.hostname, port


if __name__ == "__main__":
    raise SystemExit(main())
