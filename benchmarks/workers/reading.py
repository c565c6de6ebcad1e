"""One subscriber, and what a consumer sees of continuity and latency."""

import asyncio
import time
from collections import defaultdict, deque
from contextlib import suppress
from typing import Any

from benchmarks.workers.speech import Order, flags_of, say, words
from crossfade.adapters.memory import StaticFlags
from crossfade.core.event import Event
from crossfade.settings import Settings
from crossfade.subscriber import Subscriber

__all__ = ["Seen", "subscriber"]


class Seen:
    """What a consumer got: per stream in order, if asked with latencies of the newest events."""

    def __init__(self, *, latencies: bool = False) -> None:
        self.count = self.repeated = self.skipped = 0
        self.last = 0.0
        self.latencies_ms: deque[tuple[float, float]] = deque(maxlen=400_000)
        self._times = latencies
        self._next: dict[Any, int] = defaultdict(lambda: 1)

    def take(self, event: Event) -> None:
        self.last = time.monotonic()
        if self._times:
            latency_ms = (time.time_ns() - event.payload["t"]) / 1e6
            self.latencies_ms.append((self.last, latency_ms))
        # The rest is what a bench proves by; it must cost less than what it measures.
        stream, sequence = (event[1], event[8], event[6], event[7]), event[9]
        due = self._next[stream]
        if sequence != due:
            self.repeated += sequence < due
            self.skipped += max(0, sequence - due)
        self._next[stream] = max(due, sequence + 1)
        self.count += 1


async def subscriber(order: Order) -> None:
    """Take ``count`` events (or until told ``stop``), then tell what came and how late."""
    settings = Settings.model_validate(order["settings"])
    flags = StaticFlags(flags_of(order, 1, order.get("served", 0)))
    seen = Seen(latencies=bool(order.get("latencies")))
    told = asyncio.Event()

    async def consume(running: Any) -> None:
        async for event in running:
            seen.take(event)
            if seen.count == order.get("count"):
                told.set()

    async def listen() -> None:
        async for word in words():
            if word == "stop":
                told.set()

    async with Subscriber(settings, flags=flags, start="earliest") as running:
        side = "realtime" if order.get("served") else "websocket"
        while not all(running.serving()[side].values()) or not running.serving()[side]:  # noqa: ASYNC110 - polled from outside
            await asyncio.sleep(0.02)
        tasks = [asyncio.create_task(consume(running)), asyncio.create_task(listen())]
        say(ready=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(order["timeout_s"]):
                await told.wait()
        say(
            count=seen.count,
            repeated=seen.repeated,
            skipped=seen.skipped,
            last=seen.last,
            latencies=list(seen.latencies_ms) if order.get("latencies") else [],
            serving={via: sum(map(len, some.values())) for via, some in running.serving().items()},
        )
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
