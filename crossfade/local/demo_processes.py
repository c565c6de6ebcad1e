"""The demo's own processes: one publisher that can be paced, five subscribers that record."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from crossfade.errors import StackError
from crossfade.local.demo_observer import DemoFailed
from crossfade.local.guardian import Guardian
from crossfade.local.processes import MARKER, end_group
from crossfade.local.recording import LineCount
from crossfade.local.services import service_environment

__all__ = ["DemoProcess", "PublisherProcess", "SubscriberProcess"]

_END_S = 10.0
_LINE_BYTES = 65_536


class DemoProcess:
    """One Python module as a process of the stack: in a session of its own, watched, logged.

    ``start`` before anything else; ``end`` sends TERM and waits, then KILL.
    """

    def __init__(
        self, name: str, module: str, arguments: list[str], log: Path, marker: str
    ) -> None:
        self.name = name
        self.log = log
        self._command = [sys.executable, "-m", module, *arguments]
        self._marker = marker
        self._process: asyncio.subprocess.Process | None = None
        self._guardian: Guardian | None = None

    async def start(self, guardian: Guardian) -> None:
        """Start it; the guardian ends it should we die."""
        self._guardian = guardian
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**service_environment(os.environ), MARKER: self._marker},
                start_new_session=True,
                limit=_LINE_BYTES,
            )
        guardian.watch(self._process.pid)

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The running process."""
        if self._process is None:
            raise StackError(f"{self.name} was not started")
        return self._process

    async def end(self) -> int:
        """End it in order and return its exit status; KILL when it does not follow."""
        if self._process is None:
            return 0
        if self._process.returncode is None:
            end_group(self._process.pid, signal.SIGTERM)
            try:
                async with asyncio.timeout(_END_S):
                    await self._process.wait()
            except TimeoutError:
                end_group(self._process.pid, signal.SIGKILL)
                await self._process.wait()
        if self._guardian is not None:
            self._guardian.unwatch(self._process.pid)
        return self._process.returncode or 0


class PublisherProcess(DemoProcess):
    """Replays the input. It takes ``rate N`` and ``rate max`` lines and tells how far it is."""

    published = 0
    """How many events it says are durable (for the display; the checker does not ask it)."""

    async def follow(self, on_progress: Callable[[int], None]) -> None:
        """Read its progress until every event is published.

        Raises:
            DemoFailed: it ended before; names its log.
        """
        output = self.process.stdout
        if output is None:
            raise StackError(f"{self.name} has no output")
        async for line in output:
            progress: dict[str, Any] = orjson.loads(line)
            self.published = int(progress["published"])
            on_progress(self.published)
            if progress["done"]:
                return
        status = await self.process.wait()
        raise DemoFailed(f"the publisher ended with status {status}; see {self.log}")

    async def pace(self, rate: float | None) -> None:
        """Publish so many events a second from now on; None is as fast as it goes."""
        if self.process.stdin is None:
            raise StackError(f"{self.name} has no input")
        text = "max" if rate is None else f"{rate:g}"
        with contextlib.suppress(ConnectionError):
            self.process.stdin.write(f"rate {text}\n".encode())
            await self.process.stdin.drain()


class SubscriberProcess(DemoProcess):
    """Follows everything (``key`` None) or one key, and records what it is handed."""

    def __init__(
        self,
        name: str,
        key: str | None,
        arguments: list[str],
        record: Path,
        log: Path,
        marker: str,
    ) -> None:
        following = [] if key is None else ["--key", key]
        super().__init__(
            name,
            "crossfade.local.demo_subscriber",
            [*arguments, "--name", name, "--record", str(record), *following],
            log,
            marker,
        )
        self.key = key
        self.record = record
        self._count = LineCount(record)

    @property
    def handed_over(self) -> int:
        """How many events stand in its recording now."""
        return self._count.look()
