"""The services of an embedded stack: what each is, how it is started, and when it is healthy."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

import httpx
import structlog
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from crossfade.adapters.migrations import apply_migrations
from crossfade.errors import StackError
from crossfade.local import prefect
from crossfade.local.postgres import Postgres
from crossfade.local.prefect_api import PrefectApi
from crossfade.local.prefect_seed import keep_seed, plant_seed, seed_folder
from crossfade.local.processes import MARKER
from crossfade.local.stack_settings import StackPaths
from crossfade.local.supabase.bootstrap import prepare_database
from crossfade.local.supervisor import ServiceSpec
from crossfade.settings import Settings

__all__ = ["SERVICES", "Services", "service_environment"]

SERVICES = ("postgres", "supabase", "hub", "control", "tap", "prefect", "worker")
"""Every service, in the order in which they are shown."""

_LOOK_S = 2.0
_log = structlog.get_logger("crossfade.stack")
_FRESH_US = 5_000_000


class Services:
    """Makes the specs of one stack.

    Args:
        settings: the stack's settings, complete.
        postgres: the embedded database; None when a Supabase project is used instead.
        marker: names the stack in its processes' environment.
    """

    def __init__(self, settings: Settings, postgres: Postgres | None, marker: str) -> None:
        self._settings = settings
        self._paths = StackPaths(settings.stack.state)
        self._postgres = postgres
        self._environment = service_environment(os.environ)
        self._marker = marker

    def specs(self, without: frozenset[str] = frozenset()) -> list[ServiceSpec]:
        """The services of this stack but for those left out, and what needs only those left."""
        embedded = () if self._postgres is None else (self._postgres_spec(), self._supabase_spec())
        made = (
            *embedded,
            self._hub_spec(),
            self._control_spec(),
            self._tap_spec(),
            self._prefect_spec(),
            self._worker_spec(),
        )
        kept = {spec.name for spec in made} - without
        return [_without_needs(spec, kept) for spec in made if spec.name in kept]

    async def deploy(self) -> None:
        """Make the work pool and the deployments; waits for Prefect's server by itself.

        Raises:
            StackError: with the end of the output.
        """
        try:
            await self._deploy_once()
        except StackError as error:
            # Seen once in some fifty starts: it hangs. Repeating it updates what is there.
            _log.warning("deploying once more", reason=str(error).splitlines()[0])
            await self._deploy_once()

    async def _deploy_once(self) -> None:
        await prefect.deploy(
            self._paths.prefect,
            self._settings.prefect,
            self._paths.settings,
            inherited={**self._environment, MARKER: self._marker},
            timeout_s=self._settings.stack.start_timeout_s / 2,
            log=self._paths.log("deploy"),
        )

    def _postgres_spec(self) -> ServiceSpec:
        server = self._postgres
        assert server is not None  # noqa: S101 - specs() asks only then
        log = self._paths.log("postgres")

        async def prepare() -> None:
            await server.prepare(log, {MARKER: self._marker})

        async def finish() -> None:
            await asyncio.to_thread(prepare_database, server.url)
            await asyncio.to_thread(apply_migrations, server.url)

        return ServiceSpec(
            name="postgres",
            address=f"127.0.0.1:{server.port}",
            command=server.command,
            environment=server.environment,
            log=log,
            healthy=server.healthy,
            prepare=prepare,
            finish=finish,
            user=server.user,
            # "Fast": open connections are closed, everything is written.
            end_signal=signal.SIGINT,
        )

    def _supabase_spec(self) -> ServiceSpec:
        section = self._settings.supabase
        key = section.service_role_key.get_secret_value()

        async def healthy() -> bool:
            return await _answers(
                f"{section.url}/rest/v1/rpc/crossfade_health_v1",
                headers={"apikey": key, "Authorization": f"Bearer {key}"},
                method="POST",
            )

        return self._python(
            "supabase", "crossfade.local.supabase", healthy, section.url, needs=("postgres",)
        )

    def _hub_spec(self) -> ServiceSpec:
        url = self._settings.websocket.url

        async def healthy() -> bool:
            return await _shakes_hands(url)

        return self._python("hub", "crossfade.local.hub_process", healthy, url)

    def _control_spec(self) -> ServiceSpec:
        url = self._settings.control.url

        async def healthy() -> bool:
            return await _answers(f"{url}/healthz")

        return self._python("control", "crossfade.control", healthy, url)

    def _tap_spec(self) -> ServiceSpec:
        path = self._settings.tap.path

        async def healthy() -> bool:
            return await asyncio.to_thread(_tap_covers, path)

        return self._python(
            "tap", "crossfade.local.tap", healthy, "", needs=("hub", "supabase", "control")
        )

    def _prefect_spec(self) -> ServiceSpec:
        home, section = self._paths.prefect, self._settings.prefect
        port = self._settings.stack.prefect_port
        launch = prefect.server(home, port, section, inherited=self._environment)
        folder = seed_folder()
        seed = None if folder is None else prefect.seed_file(folder)

        async def healthy() -> bool:
            return await _answers(f"{section.api_url}/health")

        async def prepare() -> None:
            home.mkdir(mode=0o700, exist_ok=True)
            prefect.write_profile(home, section)
            if seed is not None:
                await asyncio.to_thread(plant_seed, seed, prefect.database(home))

        async def finish() -> None:
            if seed is not None:
                await asyncio.to_thread(keep_seed, prefect.database(home), seed)

        return ServiceSpec(
            name="prefect",
            address=section.api_url.removesuffix("/api"),
            command=launch.command,
            environment=launch.environment,
            log=self._paths.log("prefect"),
            healthy=healthy,
            prepare=prepare,
            finish=finish,
        )

    def _worker_spec(self) -> ServiceSpec:
        section = self._settings.prefect
        launch = prefect.worker(
            self._paths.prefect,
            section,
            self._paths.settings,
            inherited=self._environment,
        )

        async def healthy() -> bool:
            async with PrefectApi.of(section, timeout_s=_LOOK_S) as api:
                return await api.worker_online(
                    section.work_pool, prefect.worker_name(section.work_pool)
                )

        return ServiceSpec(
            name="worker",
            command=launch.command,
            environment=launch.environment,
            log=self._paths.log("worker"),
            healthy=healthy,
            # It waits for the server by itself; both at once saves the seconds of its imports.
            uses=("prefect",),
        )

    def _python(
        self,
        name: str,
        module: str,
        healthy: Callable[[], Awaitable[bool]],
        address: str,
        needs: tuple[str, ...] = (),
    ) -> ServiceSpec:
        return ServiceSpec(
            name=name,
            address=address,
            command=[sys.executable, "-m", module, "--settings", str(self._paths.settings)],
            environment=self._environment,
            log=self._paths.log(name),
            healthy=healthy,
            needs=needs,
        )


def service_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """What a service inherits: nothing that would override the stack's own settings file."""
    return {
        name: value
        for name, value in inherited.items()
        if not name.startswith(("CROSSFADE_", "SUPABASE_"))
    } | {"PYTHONUNBUFFERED": "1"}


def _without_needs(spec: ServiceSpec, kept: set[str]) -> ServiceSpec:
    return replace(
        spec,
        needs=tuple(name for name in spec.needs if name in kept),
        uses=tuple(name for name in spec.uses if name in kept),
    )


async def _answers(url: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> bool:
    try:
        async with httpx.AsyncClient(timeout=_LOOK_S, trust_env=False) as client:
            answer = await client.request(
                method, url, headers=headers, json={} if method == "POST" else None
            )
    except httpx.HTTPError:
        return False
    return answer.is_success


async def _shakes_hands(url: str) -> bool:
    try:
        async with connect(url, open_timeout=_LOOK_S, close_timeout=_LOOK_S, proxy=None):
            return True
    except (OSError, TimeoutError, WebSocketException):
        return False


def _tap_covers(path: Path) -> bool:
    """Whether the tap has lately seen heads over WebSocket, as it records itself."""
    if not path.is_file():
        return False
    uri = f"{path.resolve().as_uri()}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_LOOK_S)) as tap:
            row = tap.execute(
                "select max(to_us) from coverage where transport = 'websocket'"
            ).fetchone()
    except sqlite3.Error:
        return False
    return row[0] is not None and int(row[0]) > time.time_ns() // 1000 - _FRESH_US
