"""The embedded stack: one state folder, its settings and secrets, its services.

What it is made of stands in ``services``, how they are run in ``supervisor``; this module
decides when what is written and what is refused.
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from crossfade.errors import StackError, UsageError
from crossfade.local.addresses import choose_ports
from crossfade.local.postgres import Postgres
from crossfade.local.project import check_project
from crossfade.local.services import SERVICES, Services
from crossfade.local.stack_settings import (
    Secrets,
    StackPaths,
    stack_settings,
    write_private,
    write_settings,
)
from crossfade.local.supervisor import ServiceStatus, Supervisor
from crossfade.settings import Settings, load_settings

__all__ = ["Stack"]


class Stack:
    """Everything of one stack; an async context manager that starts and ends it.

    Args:
        base: the user's settings; the stack's own addresses, paths and secrets go over them.
            With ``supabase.url`` set that project is used instead of the embedded one.
        state: the folder for all of its files.
        without: services that are not started.
        on_change: called after each change of a service, on the event loop.

    Raises (on entering):
        PortTaken: a fixed port is in use; nothing was started or written.
        UsageError: another stack runs in this folder, an unknown service is left out, or the
            Supabase project can not be used as it is.
        SettingsError: a Supabase project is named but a key of it is missing.
        StackError: a service did not start; names its log. Nothing is left running.
    """

    def __init__(
        self,
        base: Settings,
        state: Path,
        *,
        without: frozenset[str] = frozenset(),
        on_change: Callable[[ServiceStatus], None] = lambda _: None,
    ) -> None:
        unknown = sorted(without - set(SERVICES))
        if unknown:
            raise UsageError(
                f"unknown service {', '.join(unknown)}; the services are {', '.join(SERVICES)}"
            )
        self.paths = StackPaths(state.resolve())
        self.marker = secrets.token_hex(8)
        self._base = base
        self._without = without
        self._on_change = on_change
        self._exits = contextlib.AsyncExitStack()
        self._supervisor: Supervisor | None = None
        self._settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        """The settings that every service reads, complete."""
        if self._settings is None:
            raise StackError("the stack is not running")
        return self._settings

    @property
    def supervisor(self) -> Supervisor:
        """The running services."""
        if self._supervisor is None:
            raise StackError("the stack is not running")
        return self._supervisor

    async def __aenter__(self) -> "Stack":
        async with contextlib.AsyncExitStack() as exits:
            supervisor, services = self._prepare(exits)
            self._supervisor = supervisor
            exits.push_async_callback(supervisor.stop)
            exits.callback(self._forget)
            await self._start(supervisor, services)
            write_private(
                self.paths.description, orjson.dumps(self._describe(), option=orjson.OPT_INDENT_2)
            )
            supervisor.guardian.forget(self.paths.description)
            self._exits = exits.pop_all()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._exits.__aexit__(*error)

    def _prepare(self, exits: contextlib.AsyncExitStack) -> tuple[Supervisor, Services]:
        ports = choose_ports(
            {
                "postgres": self._base.stack.postgres_port,
                "supabase": self._base.stack.supabase_port,
                "hub": self._base.stack.hub_port,
                "control": self._base.stack.control_port,
                "prefect": self._base.stack.prefect_port,
            }
        )
        # Refused before anything is written.
        check = Secrets("", "-" * 48, "", "", "", "")
        stack_settings(self._base, self.paths.state, ports, check)
        with contextlib.suppress(FileExistsError):
            self.paths.state.mkdir(mode=0o700, parents=True)
        exits.enter_context(self._locked())
        self.paths.logs.mkdir(mode=0o700, exist_ok=True)
        own = Secrets.keep(self.paths.secrets)
        write_settings(
            stack_settings(self._base, self.paths.state, ports, own), self.paths.settings
        )
        settings = load_settings(self.paths.settings)
        self._settings = settings
        embedded = not self._base.supabase.url
        postgres = (
            Postgres(self.paths.postgres, ports["postgres"], own.postgres_password)
            if embedded
            else None
        )
        services = Services(settings, postgres, self.marker)
        supervisor = Supervisor(
            services.specs(self._without),
            marker=self.marker,
            start_timeout_s=settings.stack.start_timeout_s,
            on_change=self._on_change,
        )
        return supervisor, services

    async def _start(self, supervisor: Supervisor, services: Services) -> None:
        if self._base.supabase.url:
            await check_project(self.settings)
        # Deploying waits for the server by itself: both at once saves its imports' seconds.
        work = [asyncio.create_task(supervisor.start())]
        if {"prefect", "worker"}.isdisjoint(self._without):
            work.append(asyncio.create_task(services.deploy()))
        try:
            await asyncio.gather(*work)
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    def _describe(self) -> dict[str, Any]:
        settings = self.settings
        section = settings.supabase
        return {
            "pid": os.getpid(),
            "services": {
                status.name: {"url": status.address, "pid": status.pid, "log": str(status.log)}
                for status in self.supervisor.statuses
            },
            "tokens": {
                "operator": settings.control.operator_token.get_secret_value(),
                "instance": settings.control.instance_token.get_secret_value(),
                "prefect": settings.prefect.auth.get_secret_value(),
            },
            "supabase": {
                "url": section.url,
                "anon_key": section.anon_key.get_secret_value(),
                "service_role_key": section.service_role_key.get_secret_value(),
                "database_url": section.database_url.get_secret_value(),
            },
            "journal": str(settings.journal.path),
            "tap": str(settings.tap.path),
            "prefect_api_url": settings.prefect.api_url,
            "settings": str(self.paths.settings),
        }

    def _forget(self) -> None:
        self.paths.description.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # Released by the kernel when this process ends, however it ends.
        with self.paths.lock.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UsageError(
                    f"{self.paths.state}: a stack already runs there; stop it, "
                    "or give --state another folder"
                ) from None
            yield
