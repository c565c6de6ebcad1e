"""The supervisor: starts services in parallel, watches them, ends them, leaves nothing behind.

It restarts nothing by itself: a service of a development stack that dies is a finding, and
the one who started the stack is to see it, with the log.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from crossfade.errors import StackError
from crossfade.local.guardian import Guardian
from crossfade.local.processes import MARKER, end_group, end_marked, kill_tree, spawn

__all__ = ["ServiceSpec", "ServiceState", "ServiceStatus", "Supervisor"]

_POLL_S = 0.05
_KILL_WAIT_S = 5.0
_LOG_TAIL_BYTES = 4_096

Step = Callable[[], Awaitable[None]]


async def _nothing() -> None:
    """The step of a service that needs none."""


class ServiceState(StrEnum):
    """What a service is doing."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    KILLED = "killed"
    DIED = "died"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """How one service is started, checked and ended.

    Attributes:
        address: what people and programs connect to; "" when it listens to nothing.
        needs: services that must be ready before this one starts, and end after it.
        uses: services that it waits for by itself, but that must end after it as well.
        healthy: one look, without waiting long; true once the service does its work.
        prepare: what must be done before the process starts.
        finish: what must be done once it is healthy and before it counts as ready.
        user: the user id to run as; None for ours.
        end_signal: asks the process to end in order.
        grace_s: how long it may take to do so before SIGKILL.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    healthy: Callable[[], Awaitable[bool]]
    address: str = ""
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    prepare: Step = _nothing
    finish: Step = _nothing
    user: int | None = None
    end_signal: signal.Signals = signal.SIGTERM
    grace_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """One service as it stands; ``since`` is monotonic seconds."""

    name: str
    state: ServiceState
    address: str
    pid: int | None
    since: float
    log: Path
    note: str = ""


@dataclass(slots=True)
class _Service:
    spec: ServiceSpec
    state: ServiceState = ServiceState.WAITING
    since: float = field(default_factory=time.monotonic)
    note: str = ""
    process: asyncio.subprocess.Process | None = None
    watcher: asyncio.Task[None] | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)


class Supervisor:
    """The processes of one stack.

    Args:
        specs: the services; ``needs`` must name others among them.
        marker: names the stack in its processes' environment.
        start_timeout_s: how long the whole start may take.
        on_change: called after every change of a service's state, on the event loop.

    Use as an async context manager: entering starts everything, leaving ends everything.
    """

    def __init__(
        self,
        specs: Iterable[ServiceSpec],
        *,
        marker: str,
        start_timeout_s: float = 90.0,
        on_change: Callable[[ServiceStatus], None] = lambda _: None,
    ) -> None:
        self._services = {spec.name: _Service(spec) for spec in specs}
        self._marker = marker
        self._timeout_s = start_timeout_s
        self._on_change = on_change
        self._guardian: Guardian | None = None
        self._death: asyncio.Future[str] | None = None

    @property
    def statuses(self) -> list[ServiceStatus]:
        """All services, in the order of their specs."""
        return [self._status(one) for one in self._services.values()]

    @property
    def guardian(self) -> Guardian:
        """The guardian of a started stack."""
        if self._guardian is None:
            raise StackError("the stack is not running")
        return self._guardian

    async def __aenter__(self) -> "Supervisor":
        try:
            await self.start()
        except BaseException:
            await asyncio.shield(self.stop())
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start every service, each as soon as what it needs is ready.

        Raises:
            StackError: one of them died or did not become healthy in time; names its log.
                Others may be running then: ``stop`` ends them.
        """
        self._death = asyncio.get_running_loop().create_future()
        self._guardian = Guardian(self._marker)
        tasks = [asyncio.create_task(self._bring_up(one)) for one in self._services.values()]
        everything = asyncio.gather(*tasks)
        try:
            async with asyncio.timeout(self._timeout_s):
                both: set[asyncio.Future[Any]] = {everything, self._death}
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                if self._death.done():
                    raise StackError(self._services[self._death.result()].note)
                await everything
        except TimeoutError:
            late = [one for one in self._services.values() if one.state is ServiceState.STARTING]
            raise StackError(
                f"the stack was not ready within {self._timeout_s:g} s: "
                + "; ".join(f"{one.spec.name} is not healthy, see {one.spec.log}" for one in late)
            ) from None
        finally:
            everything.cancel()
            await asyncio.gather(everything, *tasks, return_exceptions=True)

    async def death(self) -> str:
        """Wait until a service ends that nobody asked to end; returns its name."""
        if self._death is None:
            raise StackError("the stack is not running")
        return await asyncio.shield(self._death)

    async def kill(self, *names: str) -> None:
        """End services at once with SIGKILL, as a crash would (for drills and tests)."""
        for name in names:
            self._set(self._services[name], ServiceState.KILLED)
        for name in names:
            process = self._services[name].process
            if process is not None and process.returncode is None:
                await asyncio.to_thread(kill_tree, process.pid, _KILL_WAIT_S)
        for name in names:
            await self._await_end(self._services[name])

    async def revive(self, *names: str) -> None:
        """Start services again that ``kill`` ended, in the order of what they need.

        Raises:
            StackError: one does not become healthy in time; names its log.
        """
        chosen = [self._services[name] for name in names]
        for one in chosen:
            one.ready.clear()
        try:
            async with asyncio.timeout(self._timeout_s):
                await asyncio.gather(*(self._launch(one) for one in chosen))
        except TimeoutError:
            raise StackError(f"{', '.join(names)}: not healthy again in time") from None

    async def stop(self) -> None:
        """End every service in order: dependants before what they need, KILL after the grace."""
        for layer in reversed(self._layers()):
            await asyncio.gather(*(self._end(one) for one in layer))
        await asyncio.to_thread(end_marked, self._marker, spare=self._spared())
        if self._guardian is not None:
            await asyncio.to_thread(self._guardian.dismiss)
            self._guardian = None

    async def _bring_up(self, one: _Service) -> None:
        await self._launch(one, one.spec.prepare, one.spec.finish)

    async def _launch(
        self, one: _Service, prepare: Step = _nothing, finish: Step = _nothing
    ) -> None:
        spec = one.spec
        for name in spec.needs:
            await self._services[name].ready.wait()
        self._set(one, ServiceState.STARTING)
        await prepare()
        environment = {**spec.environment, MARKER: self._marker}
        try:
            one.process = await spawn(
                spec.command, environment=environment, log=spec.log, user=spec.user
            )
        except OSError as error:
            raise StackError(f"{spec.name}: can not be started: {error}") from error
        self.guardian.watch(one.process.pid, spec.end_signal)
        one.watcher = asyncio.create_task(self._watch(one, one.process))
        while not await spec.healthy():
            if one.watcher.done():
                raise StackError(_obituary(one.spec, one.process.returncode))
            await asyncio.sleep(_POLL_S)
        await finish()
        self._set(one, ServiceState.READY)
        one.ready.set()

    async def _watch(self, one: _Service, process: asyncio.subprocess.Process) -> None:
        status = await process.wait()
        if self._guardian is not None:
            self._guardian.unwatch(process.pid)
        if one.state in (ServiceState.STARTING, ServiceState.READY):
            one.ready.clear()
            self._set(one, ServiceState.DIED, _obituary(one.spec, status))
            if self._death is not None and not self._death.done():
                self._death.set_result(one.spec.name)

    async def _end(self, one: _Service) -> None:
        process = one.process
        if process is None or process.returncode is not None:
            if one.state in (ServiceState.WAITING, ServiceState.STARTING):
                self._set(one, ServiceState.STOPPED)
            await self._await_end(one)
            return
        self._set(one, ServiceState.STOPPING)
        end_group(process.pid, one.spec.end_signal)
        try:
            async with asyncio.timeout(one.spec.grace_s):
                await process.wait()
        except TimeoutError:
            one.note = f"had to be killed after {one.spec.grace_s:g} s"
        # Children that outlived their parent are still in its group.
        end_group(process.pid, signal.SIGKILL)
        await self._await_end(one)
        self._set(one, ServiceState.STOPPED, one.note)

    async def _await_end(self, one: _Service) -> None:
        if one.watcher is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_KILL_WAIT_S):
                await asyncio.shield(one.watcher)

    def _layers(self) -> list[list[_Service]]:
        """Services grouped by depth: those of a layer build only on what is in earlier ones."""
        depths: dict[str, int] = {}

        def depth(name: str) -> int:
            if name not in depths:
                spec = self._services[name].spec
                depths[name] = 1 + max(map(depth, (*spec.needs, *spec.uses)), default=-1)
            return depths[name]

        layers: list[list[_Service]] = [[] for _ in range(len(self._services))]
        for name, one in self._services.items():
            layers[depth(name)].append(one)
        return [layer for layer in layers if layer]

    def _spared(self) -> list[int]:
        return [] if self._guardian is None else [self._guardian.pid]

    def _set(self, one: _Service, state: ServiceState, note: str = "") -> None:
        one.state, one.since, one.note = state, time.monotonic(), note
        self._on_change(self._status(one))

    def _status(self, one: _Service) -> ServiceStatus:
        running = one.process is not None and one.process.returncode is None
        return ServiceStatus(
            name=one.spec.name,
            state=one.state,
            address=one.spec.address,
            pid=one.process.pid if one.process is not None and running else None,
            since=one.since,
            log=one.spec.log,
            note=one.note,
        )


def _obituary(spec: ServiceSpec, status: int | None) -> str:
    how = f"signal {-status}" if status is not None and status < 0 else f"status {status}"
    last = _last_line(spec.log)
    return f"{spec.name} ended with {how}; see {spec.log}" + (f" ({last})" if last else "")


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")
