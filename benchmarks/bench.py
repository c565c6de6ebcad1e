"""What a bench is given: the services, workers in processes of their own, sizes."""

import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from crossfade.local.addresses import free_port
from tests.services import ROOT, Project

__all__ = ["Bench", "Worker", "tcp_answers"]

START_S = 60.0


@dataclass(slots=True)
class Bench:
    """The frame around one bench.

    Attributes:
        scale: factor for counts and durations; 1 is what the goals are written for.
        rounds: rounds of alternating measurements.
        tell: says what is being done.
    """

    folder: Path
    project: Project
    scale: float
    rounds: int
    tell: Callable[[str], None]
    exits: AsyncExitStack = field(default_factory=AsyncExitStack)

    def count(self, events: int, least: int = 200) -> int:
        """A scaled number of events."""
        return max(least, round(events * self.scale))

    def seconds(self, seconds: float, least: float = 2.0) -> float:
        """A scaled duration."""
        return max(least, seconds * self.scale)

    def settings(self, **sections: dict[str, Any]) -> dict[str, Any]:
        """Settings of a fresh source with a journal of its own and one topic of its own."""
        name = uuid.uuid4().hex[:10]
        project = self.project
        values: dict[str, dict[str, Any]] = {
            "journal": {"path": str(self.folder / f"{name}.db"), "epoch": 1},
            "publisher": {"source": f"s{name}", "drain_s": 0},
            "websocket": {"url": "", "token": "t"},
            "classification": {
                "categories": [f"t{name}"],
                "heuristics": False,
                "default": f"t{name}",
            },
            "supabase": {
                "url": project.url,
                "anon_key": project.anon_key,
                "service_role_key": project.service_role_key,
                "access_token": project.token(),
                "database_url": project.database_url,
            },
        }
        for section, fields in sections.items():
            values[section] = {**values.get(section, {}), **fields}
        return values

    @asynccontextmanager
    async def hub(self, **websocket: Any) -> AsyncIterator[str]:
        """The reference hub in a process of its own; answers its URL."""
        url = f"ws://127.0.0.1:{free_port()}"
        path = self.folder / f"hub-{uuid.uuid4().hex[:8]}.toml"
        values = {"url": url, "token": "t", **websocket}
        lines = [f"{name} = {orjson.dumps(value).decode()}" for name, value in values.items()]
        path.write_text("\n".join(["[websocket]", *lines, ""]))
        with (self.folder / "hub.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "crossfade.local.hub_process", "--settings", str(path),
                stderr=log, cwd=ROOT,
            )  # fmt: skip
        try:
            await tcp_answers(url)
            yield url
        finally:
            await _end(process)

    @asynccontextmanager
    async def worker(self, role: str, **order: Any) -> AsyncIterator["Worker"]:
        """One of ``benchmarks.workers`` in a process of its own, ready."""
        path = self.folder / f"{role}-{uuid.uuid4().hex[:8]}.json"
        path.touch(0o600)
        path.write_bytes(orjson.dumps(order))
        with (self.folder / "workers.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "benchmarks.workers", role, str(path),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
                cwd=ROOT, limit=64_000_000,
            )  # fmt: skip
        worker = Worker(process, self.folder / "workers.log")
        try:
            await worker.next(START_S)
            yield worker
        finally:
            await _end(process)


class Worker:
    """A process that answers one JSON object a line, and takes words a line."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def next(self, timeout_s: float) -> dict[str, Any]:
        """Its next line.

        Raises:
            RuntimeError: it ended, or took too long; with the end of its log.
        """
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(timeout_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise RuntimeError(f"no answer in {timeout_s:g} s: {self._tail()}") from None
        if not line:
            raise RuntimeError(f"a worker ended: {self._tail()}")
        answer: dict[str, Any] = orjson.loads(line)
        return answer

    def say(self, word: str) -> None:
        """Give it a word."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-2_000:]


async def tcp_answers(url: str) -> None:
    """Wait until something listens at ``url``."""
    port = int(url.rsplit(":", 1)[1])
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return
    raise RuntimeError(f"nothing listens at {url}")


async def _end(process: asyncio.subprocess.Process) -> None:
    # It may have ended by itself a moment ago, and not be waited for yet.
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
    await process.wait()
