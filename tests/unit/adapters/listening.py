"""A listener that writes everything down."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from crossfade.core.event import Event, Head
from crossfade.core.switch import Coverage


class Notes:
    def __init__(self) -> None:
        self.seen: list[Event] = []
        self.heads_seen: list[tuple[str, list[Head], Coverage | None]] = []
        self.calls: list[tuple[str, Any]] = []
        self.open = asyncio.Event()
        self.open.set()

    def events(self, via: str, events: Sequence[Event]) -> None:
        self.seen.extend(events)

    def heads(self, via: str, heads: Sequence[Head], coverage: Coverage | None) -> None:
        self.heads_seen.append((via, list(heads), coverage))

    def met(self, via: str, heads: Sequence[Head]) -> None:
        self.calls.append(("met", list(heads)))

    def joined(self, via: str, coverage: Coverage | None) -> None:
        self.calls.append(("joined", coverage))

    def left(self, via: str, reason: str) -> None:
        self.calls.append(("left", reason))

    def failed(self, via: str, reason: str) -> None:
        self.calls.append(("failed", reason))

    async def room(self) -> None:
        await self.open.wait()

    def reasons(self, kind: str) -> list[Any]:
        return [value for name, value in self.calls if name == kind]


async def wait_for(condition: Callable[[], Any], timeout_s: float = 15.0) -> None:
    """Poll until ``condition`` holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - polled on purpose
            await asyncio.sleep(0.005)
