"""A crowd of subscribers on both transports under a steady load."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.bench import Bench, Worker
from benchmarks.figures import LostEvents

__all__ = ["CLIENTS", "RATE", "Crowd", "crowd"]

CLIENTS = 200
RATE = 20
"""Events a second, of which every subscriber gets each."""
PROCESSES = 2
TIMEOUT_S = 90
LAST_S = 2.0
"""What was published last has arrived by then, if it does at all."""


class Crowd:
    """Subscribers in a few processes, moved together."""

    def __init__(self, workers: list[Worker], publisher: Worker, clients: int) -> None:
        self.clients = clients
        self._workers = workers
        self._publisher = publisher

    async def tell(self, word: str) -> list[dict[str, Any]]:
        """Give all of them a word; their answers."""
        for worker in self._workers:
            worker.say(word)
        return list(await asyncio.gather(*(one.next(2 * TIMEOUT_S) for one in self._workers)))

    async def move(self, percent: float) -> list[float]:
        """Seconds from the flags' change until each has cut over.

        Raises:
            LostEvents: a switch failed.
        """
        answers = await self.tell(f"served {percent}")
        moved = [one for answer in answers for one in answer["moved_s"]]
        if len(moved) != self.clients or any(answer["failed"] for answer in answers):
            raise LostEvents(f"{len(moved)} of {self.clients} subscribers moved to {percent} %")
        return moved

    async def finish(self) -> int:
        """End the load; everybody must have everything, once. Answers how many events.

        Raises:
            LostEvents: somebody has not.
        """
        published = await self._stop()
        for _ in range(100):
            answers = await self.tell("report")
            counts = [count for answer in answers for count in answer["counts"]]
            if min(counts) == published:
                break
            await asyncio.sleep(0.2)
        faults = {
            name: sum(answer[name] for answer in answers)
            for name in ("repeated", "skipped", "open_holes")
        }
        if set(counts) != {published} or any(faults.values()):
            raise LostEvents(
                f"{published} published; subscribers have {min(counts)} to {max(counts)}, {faults}"
            )
        return published

    async def losses(self) -> tuple[int, int]:
        """End the load; how many events bare clients lack, and got twice, all together."""
        published = await self._stop()
        await asyncio.sleep(LAST_S)
        answers = await self.tell("report")
        counts = [count for answer in answers for count in answer["counts"]]
        return (
            sum(published - count for count in counts),
            sum(answer["repeated"] for answer in answers),
        )

    async def _stop(self) -> int:
        self._publisher.say("stop")
        published = (await self._publisher.next(TIMEOUT_S))["published"]
        await self._publisher.next(TIMEOUT_S)
        return int(published)


@asynccontextmanager
async def crowd(
    bench: Bench, served: float, written: float = 100, role: str = "crowd"
) -> AsyncIterator[Crowd]:
    """``CLIENTS`` subscribers (scaled), ready, and a publisher at ``RATE``.

    Args:
        role: ``crowd``, or ``bare_crowd`` for clients without Crossfade.
    """
    clients = bench.count(CLIENTS, 8)
    each = [clients // PROCESSES + (n < clients % PROCESSES) for n in range(PROCESSES)]
    async with bench.hub() as url:
        settings = bench.settings(websocket={"url": url})
        workers = []
        for number in each:
            workers.append(
                await bench.exits.enter_async_context(
                    bench.worker(
                        role, settings=settings, clients=number, served=served,
                        timeout_s=TIMEOUT_S,
                    )
                )
            )  # fmt: skip
        publisher = await bench.exits.enter_async_context(
            bench.worker(
                "publisher", settings=settings, rate=RATE, written=written,
                sinks=["websocket", "supabase"],
            )
        )  # fmt: skip
        try:
            await asyncio.sleep(2.0)  # every partition that is used has a head by now
            yield Crowd(workers, publisher, clients)
        finally:
            await bench.exits.aclose()
