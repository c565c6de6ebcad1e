"""A publisher, a hub and readers in one process, with a Supabase stand-in of the session's."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from crossfade.adapters.memory import StaticFlags
from crossfade.core.event import Event
from crossfade.core.flags import EVERYTHING, Flags
from crossfade.local.hub import Hub
from crossfade.publisher import Publisher
from crossfade.settings import Settings
from crossfade.subscriber import Subscriber
from tests.integration.publishers import make_settings
from tests.services import Project

PARTITIONS = 4


class Scene:
    """One topic of its own, so that tests can share a project."""

    def __init__(
        self, folder: Path, project: Project | None = None, **sections: dict[str, Any]
    ) -> None:
        self.folder = folder
        self.topic = f"t{uuid.uuid4().hex[:10]}"
        self.project = project
        self.flags = StaticFlags(self.serve(0, version=0))
        self.sections = sections
        self.published: list[Event] = []
        self.hub: Hub
        self.publisher: Publisher
        self.settings: Settings
        self._exits = AsyncExitStack()

    def serve(self, percent: float, *, version: int, **more: Any) -> Flags:
        return Flags(
            version=version,
            partitions=PARTITIONS,
            topics={self.topic: self.topic},
            served={EVERYTHING: percent},
            **more,
        )

    def make(self, hub_url: str) -> Settings:
        supabase: dict[str, Any] = {}
        if self.project is not None:
            supabase = self.project.settings().supabase.model_dump()
        sections = {
            "classification": {
                "categories": (self.topic,),
                "heuristics": False,
                "default": self.topic,
            },
            "supabase": supabase,
            "websocket": {"url": hub_url},
            "tap": {"path": self.folder / "tap.db", "commit_s": 0.05},
            "subscriber": {
                "deaf_s": 1.0,
                "drain_s": 0.2,
                "switch_timeout_s": 10.0,
                "switch_spread_s": 0.05,
                "retry_initial_s": 0.05,
                "retry_max_s": 0.3,
                "return_initial_s": 0.2,
                "hole_grace_ms": 100,
            },
        }
        for name, fields in self.sections.items():
            sections[name] = {**sections.get(name, {}), **fields}
        return make_settings(self.folder, **sections)

    async def __aenter__(self) -> Self:
        hub_url = self.sections.get("websocket", {}).get("url", "")
        if not hub_url:
            settings = self.make("ws://127.0.0.1:0")
            self.hub = await self._exits.enter_async_context(Hub(settings.websocket))
            hub_url = self.hub.url
        self.settings = self.make(hub_url)
        self.publisher = await self._exits.enter_async_context(
            Publisher(self.settings, flags=self.flags)
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._exits.aclose()

    def subscriber(self, **options: Any) -> Subscriber:
        return Subscriber(self.settings, flags=self.flags, **options)

    async def publish(self, count: int, *, keys: int = 12) -> None:
        start = len(self.published)
        self.published += await self.publisher.publish_many(
            {"type": "made", "data": {"n": number}, "key": f"key-{number % keys}"}
            for number in range(start, start + count)
        )

    @asynccontextmanager
    async def load(self, *, batch: int = 20, pause_s: float = 0.02) -> AsyncIterator[None]:
        """Publish all the time; at the end everything that was published is known."""
        stop = asyncio.Event()

        async def work() -> None:
            while not stop.is_set():
                await self.publish(batch)
                await asyncio.sleep(pause_s)

        task = asyncio.create_task(work())
        try:
            yield
        finally:
            stop.set()
            await task


class Consumer:
    """Takes everything a subscriber hands over, in a task of its own."""

    def __init__(self, subscriber: Subscriber) -> None:
        self.subscriber = subscriber
        self.events: list[Event] = []
        self._task: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        await self.subscriber.__aenter__()
        self._task = asyncio.create_task(self._consume())
        return self

    async def _consume(self) -> None:
        async for event in self.subscriber:
            self.events.append(event)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.subscriber.close()
        await self._task

    async def all_of(self, expected: list[Event], timeout_s: float = 60.0) -> None:
        """Wait for as many events; then they must be these, each once and in order."""
        await wait_for(lambda: len(self.events) >= len(expected), timeout_s)
        assert in_order(self.events) == in_order(expected)


def in_order(events: list[Event]) -> dict[Any, list[Any]]:
    """Per stream what came, in its order of arrival, with the content."""
    found: dict[Any, list[Any]] = {}
    for event in events:
        found.setdefault(event.stream, []).append((event.sequence, event.id, event.data))
    return found


async def wait_for(condition: Callable[[], Any], timeout_s: float = 60.0) -> None:
    """Poll until ``condition`` holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - polled on purpose
            await asyncio.sleep(0.02)
