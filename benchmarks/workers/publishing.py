"""The publisher of a bench: as fast as it goes, or at a steady rate."""

import asyncio
import time
from typing import Any

from benchmarks.workers.speech import Order, content, flags_of, say, words
from crossfade.adapters.memory import StaticFlags
from crossfade.publisher import Publisher
from crossfade.settings import Settings

__all__ = ["publisher"]

TICK_S = 0.005
WINDOW = 4_000
"""Events owed at most while publishing without a pause. With a bound the rate is one that can be
kept up for any time; without one the journal takes more than its sinks do, and the rest of the
run is a backlog's. What is owed is read from memory as long as it is no more than this.
"""


async def publisher(order: Order) -> None:
    """Publish ``count`` events as fast as it goes, or at ``rate`` a second until told to stop."""
    settings = Settings.model_validate(order["settings"])
    async with Publisher(settings, flags=StaticFlags(flags_of(order, 1, 0))) as running:
        if order.get("rate"):
            await _paced(running, order)
        else:
            await _fast(running, order)
        say(closed=True)


async def _fast(running: Any, order: Order) -> None:
    count, batch, lanes = order["count"], order.get("batch", 500), order.get("lanes", 4)
    warm, window = order.get("warm", 0), order.get("window", WINDOW)
    starts = iter(range(warm, count, batch))
    # The first ones find connections and caches cold.
    await running.publish_many(_made(range(warm)))
    while _owed(running, order):  # noqa: ASYNC110 - polled from outside
        await asyncio.sleep(TICK_S)
    say(ready=True)
    started, busy = time.monotonic(), time.process_time()

    async def lane() -> None:
        for start in starts:
            while _owed(running, order) > window:  # noqa: ASYNC110 - polled from outside
                await asyncio.sleep(TICK_S)
            await running.publish_many(_made(range(start, min(count, start + batch))))

    await asyncio.gather(*(lane() for _ in range(lanes)))
    durable = time.monotonic()
    say(
        durable_s=durable - started,
        cpu_s=time.process_time() - busy,
        started=started,
        owed=running.owed,
    )
    while _owed(running, order):  # noqa: ASYNC110 - polled from outside
        await asyncio.sleep(0.005)
    say(drained_s=time.monotonic() - started, cpu_s=time.process_time() - busy)


def _made(numbers: range) -> list[dict[str, Any]]:
    return [{"type": "made", "key": f"k{n % 97}", "data": content(n)} for n in numbers]


def _owed(running: Any, order: Order) -> int:
    """What the sink that is furthest behind is owed."""
    return max((running.owed[sink] for sink in order["sinks"]), default=0)


async def _paced(running: Any, order: Order) -> None:
    say(ready=True)
    stopping = asyncio.Event()

    async def listen() -> None:
        async for word in words():
            if word == "stop":
                stopping.set()

    async def tell_owed() -> None:
        while True:
            say(at=time.monotonic(), owed=running.owed)
            await asyncio.sleep(order["tell_s"])

    tasks = [asyncio.create_task(listen())]
    if order.get("tell_s"):
        tasks.append(asyncio.create_task(tell_owed()))
    rate, seconds = order["rate"], order.get("seconds", 1e9)
    published, started = 0, time.monotonic()
    while not stopping.is_set() and (past := time.monotonic() - started) < seconds:
        due = int(past * rate) - published
        if due > 0:
            await asyncio.gather(
                *(
                    running.publish("made", content(n), key=f"k{n % 97}")
                    for n in range(published, published + due)
                )
            )
            published += due
        await asyncio.sleep(TICK_S)
    for task in tasks[1:]:
        task.cancel()
    say(published=published, at=time.monotonic(), owed=running.owed)
    while _owed(running, order):  # noqa: ASYNC110 - polled from outside
        await asyncio.sleep(0.01)
    say(drained=True, at=time.monotonic(), owed=running.owed)
    tasks[0].cancel()
