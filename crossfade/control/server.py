"""Runs the control server: socket, application, monitor and outbox, and their end."""

import asyncio
import contextlib
import socket
from collections.abc import Generator
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx
import structlog
import uvicorn

from crossfade.adapters.clock import SystemClock
from crossfade.control.alerts import Alerts
from crossfade.control.app import build_app
from crossfade.control.monitor import Monitor
from crossfade.control.prefect_outbox import PrefectOutbox
from crossfade.control.schema import open_engine
from crossfade.control.service import ControlService
from crossfade.errors import PortTaken, SettingsError, StackError
from crossfade.ports import Clock
from crossfade.settings import Settings

__all__ = ["ControlServer"]

STOP_S = 3.0
"""How long requests that are under way may take at the end, in seconds."""

MAX_CONNECTIONS = 4_096

_log = structlog.get_logger("crossfade.control")


class _Uvicorn(uvicorn.Server):
    """Leaves signals to the entry point: uvicorn would end the process by the signal again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class ControlServer:
    """The control server as an async context manager.

    It binds host and port of ``settings.control.url``; port 0 takes a free one, and ``url``
    is where it listens.

    Raises (on entering):
        SettingsError: a token is not set, or the database can not be opened.
        PortTaken: somebody else listens there.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        prefect_transport: httpx.AsyncBaseTransport | None = None,
        alert_transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._prefect_transport = prefect_transport
        self._alert_transport = alert_transport
        self._tasks: list[asyncio.Task[None]] = []
        self._uvicorn: _Uvicorn | None = None
        self.service: ControlService
        self.url = settings.control.url

    async def __aenter__(self) -> Self:
        _check_tokens(self._settings)
        listener = _bind(self._settings.control.url)
        try:
            engine = await asyncio.to_thread(open_engine, self._settings.control.database_url)
            self.service = ControlService(self._settings, engine, self._clock)
            try:
                await self.service.open()
                alerts = Alerts(self.service, transport=self._alert_transport)
            except BaseException:
                await self.service.close()
                raise
        except BaseException:
            listener.close()
            raise
        host, port = listener.getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        config = uvicorn.Config(
            build_app(self.service),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=round(STOP_S),
        )
        self._uvicorn = _Uvicorn(config)
        outbox = PrefectOutbox(self.service, transport=self._prefect_transport)
        self._tasks = [
            asyncio.create_task(self._uvicorn.serve([listener]), name="crossfade-control-http"),
            asyncio.create_task(Monitor(self.service).run(), name="crossfade-control-monitor"),
            asyncio.create_task(outbox.run(), name="crossfade-control-outbox"),
            asyncio.create_task(alerts.run(), name="crossfade-control-alerts"),
        ]
        while not self._uvicorn.started:
            if self._tasks[0].done():
                await self._stop()
                raise StackError(f"the control server could not listen at {self.url}")
            await asyncio.sleep(0.005)
        _log.info("control server listens", url=self.url)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stop()

    async def ended(self) -> None:
        """Wait until one of its parts ends by itself, which only happens when it failed."""
        done, _ = await asyncio.wait(
            [task for task in self._tasks if not self._idle_outbox(task)],
            return_when=asyncio.FIRST_COMPLETED,
        )
        for task in done:
            task.result()
        raise StackError("a part of the control server ended")

    def _idle_outbox(self, task: asyncio.Task[None]) -> bool:
        return task is self._tasks[2] and not self._settings.prefect.api_url

    async def _stop(self) -> None:
        self.service.release()
        if self._uvicorn is not None:
            self._uvicorn.should_exit = True
        http, *others = self._tasks
        for task in others:
            task.cancel()
        results = await asyncio.gather(http, *others, return_exceptions=True)
        await self.service.close()
        for result in results:
            if isinstance(result, Exception):
                raise result


def _check_tokens(settings: Settings) -> None:
    control = settings.control
    faults = [
        f"control.{name}: must be set"
        for name in ("operator_token", "instance_token")
        if not getattr(control, name).get_secret_value()
    ]
    given = [
        found
        for one in (control.operator_token, control.approver_token, control.instance_token)
        if (found := one.get_secret_value())
    ]
    if not faults and len(set(given)) < len(given):
        faults = ["control: operator_token, approver_token and instance_token must differ"]
    if faults:
        raise SettingsError(faults)


def _bind(url: str) -> socket.socket:
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise SettingsError([f"control.url: {error}"]) from error
    if parts.scheme != "http" or host is None:
        raise SettingsError([f"control.url: {url!r} is not an http URL with a host"])
    port = 80 if port is None else port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingsError([f"control.url: {host}: {error.strerror}"]) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(256)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise PortTaken(f"control server: {host}:{port}: {error.strerror}") from error
    return listener
