"""Many subscribers in one process, moved together."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.workers.reading import Seen
from benchmarks.workers.speech import Order, flags_of, say, words
from crossfade.adapters.memory import StaticFlags
from crossfade.settings import Settings
from crossfade.subscriber import Subscriber

__all__ = ["crowd"]


async def crowd(order: Order) -> None:
    """``clients`` subscribers that follow the same flags; ``served P`` moves them all."""
    settings = Settings.model_validate(order["settings"])
    flags = StaticFlags(flags_of(order, 1, order.get("served", 0)))
    seen = [Seen() for _ in range(order["clients"])]
    first_after: dict[int, float] = {}
    since_ns = 0

    async def consume(number: int, running: Any) -> None:
        async for event in running:
            seen[number].take(event)
            if since_ns and number not in first_after and event.payload["t"] > since_ns:
                first_after[number] = (time.time_ns() - since_ns) / 1e9

    async with AsyncExitStack() as exits:
        running = []
        for start in range(0, order["clients"], 10):
            some = [
                Subscriber(settings, flags=flags, start="earliest")
                for _ in range(start, min(order["clients"], start + 10))
            ]
            running += await asyncio.gather(*(exits.enter_async_context(one) for one in some))
        tasks = [asyncio.create_task(consume(number, one)) for number, one in enumerate(running)]
        version = 1
        await _applied(running, version, order["timeout_s"])
        say(ready=True)
        async for word in words():
            if word.startswith("served "):
                version += 1
                started = time.monotonic()
                flags.set(flags_of(order, version, float(word.split()[1])))
                times = await _applied(running, version, order["timeout_s"])
                say(
                    moved_s=[one - started for one in times],
                    failed=sum(one.switch_failures for one in running),
                )
            elif word == "watch":
                first_after.clear()
                since_ns = time.time_ns()
                say(watching=True, since_ns=since_ns)
            elif word == "watched":
                deadline = time.monotonic() + order["timeout_s"]
                while len(first_after) < len(running) and time.monotonic() < deadline:  # noqa: ASYNC110 - polled from outside
                    await asyncio.sleep(0.01)
                say(
                    first_s=list(first_after.values()),
                    missing=len(running) - len(first_after),
                    fallen_back=sum(one.fallen_back > 0 for one in running),
                )
            elif word == "report":
                say(
                    counts=[one.count for one in seen],
                    repeated=sum(one.repeated for one in seen),
                    # From the first event of each stream on: nobody may have begun late.
                    skipped=sum(one.skipped for one in seen),
                    open_holes=sum(
                        one.open_holes for each in running for one in each.continuity().values()
                    ),
                )
            elif word == "stop":
                break
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _applied(running: list[Any], version: int, timeout_s: float) -> list[float]:
    """When each of them had applied the flags; waits at most ``timeout_s``."""
    done: dict[int, float] = {}
    deadline = time.monotonic() + timeout_s
    while len(done) < len(running) and time.monotonic() < deadline:
        for number, one in enumerate(running):
            if number not in done and one.flag_version >= version:
                done[number] = time.monotonic()
        await asyncio.sleep(0.01)
    return list(done.values())
