"""What journaling costs the legacy path: the hub fed by a publisher, against the bare hub.

Publisher, hub and clients share the machine's cores, so whatever the publisher needs is taken
from the others: the cost of an event in microseconds is the same for every fan-out, and its
share of the whole falls with the number of clients. Both are told.
"""

from contextlib import AsyncExitStack
from functools import partial
from statistics import median
from typing import Any

from benchmarks.bench import Bench
from benchmarks.figures import Figure, LostEvents, alternating
from benchmarks.steps import steps

__all__ = ["measure"]

EVENTS = {20: 40_000, 200: 10_000}
"""Per number of clients; few seconds each. 200 is the crowd of the other benches."""
ROUNDS = 3
"""Times the rounds of other benches: what is looked for is smaller than the noise of one round."""
PROCESSES = 2
"""That the clients live in: one would be the bottleneck, and hide what it costs to publish."""
BATCH = 500
"""Events of a frame; the first frame comes before the clock starts."""
GOAL = 0.05
HUB = {"client_buffer_bytes": 1_000_000_000}
"""Nobody is closed for being slow: how fast all of them get everything is what is measured."""


async def measure(bench: Bench) -> list[Figure]:
    """Events a second to every client, durability "os"; and the CPU of whoever publishes."""
    figures: list[Figure] = []
    cpu_us: dict[str, list[float]] = {"bare": [], "ours": []}
    for clients, events in EVENTS.items():
        count = bench.count(events, 4 * BATCH)
        found = await alternating(
            {
                f"bare hub, {clients} clients": partial(_bare, bench, count, clients, cpu_us),
                f"publisher, {clients} clients": partial(_ours, bench, count, clients, cpu_us),
            },
            ROUNDS * bench.rounds,
            bench.tell,
        )
        bare, ours = found.values()
        figures += [
            Figure(
                name=f"legacy path, {clients} clients", unit="events/s", value=ours, floor=bare,
                note='durability "os"; floor: frames of events made on the spot to the same hub, '
                "no journal",
            ),
            Figure(
                name=f"overhead on the legacy path, {clients} clients", unit="%", better="less",
                value=100 * max(0.0, 1 - ours / bare), goal=100 * GOAL,
                note="throughput lost against the bare hub, everything on the same cores",
            ),
        ]  # fmt: skip
    figures.append(
        Figure(
            name="CPU of whoever publishes on the legacy path", unit="µs/event", better="less",
            value=median(cpu_us["ours"]), floor=median(cpu_us["bare"]),
            note="check, classify, hash, journal and send; floor: make the event and send it. The "
            "difference is what every event pays, whatever the fan-out",
        )
    )  # fmt: skip
    bench.tell("the steps of one event")
    return figures + steps(bench.folder)


async def _bare(bench: Bench, count: int, clients: int, cpu_us: dict[str, list[float]]) -> float:
    settings = bench.settings()
    async with bench.hub(**HUB) as url, AsyncExitStack() as exits:
        listening = await _clients(bench, exits, url, count, clients)
        order = {"settings": settings, "url": url, "count": count, "batch": BATCH, "warm": BATCH}
        async with bench.worker("bare", **order) as publisher:
            done = await publisher.next(300)
            cpu_us["bare"].append(done["cpu_s"] / (count - BATCH) * 1e6)
            return await _rate(listening, count, clients, done["started"])


async def _ours(bench: Bench, count: int, clients: int, cpu_us: dict[str, list[float]]) -> float:
    async with bench.hub(**HUB) as url, AsyncExitStack() as exits:
        listening = await _clients(bench, exits, url, count, clients)
        settings = bench.settings(
            supabase={"url": ""}, websocket={"url": url}, journal={"durability": "os"}
        )
        order = {
            "settings": settings, "count": count, "sinks": ["websocket"],
            "batch": BATCH, "warm": BATCH,
        }  # fmt: skip
        async with bench.worker("publisher", **order) as publisher:
            started = (await publisher.next(300))["started"]
            drained = await publisher.next(300)
            cpu_us["ours"].append(drained["cpu_s"] / (count - BATCH) * 1e6)
            return await _rate(listening, count, clients, started)


async def _clients(
    bench: Bench, exits: AsyncExitStack, url: str, count: int, clients: int
) -> list[Any]:
    return [
        await exits.enter_async_context(
            bench.worker(
                "sockets", url=url, clients=clients // PROCESSES, count=count, timeout_s=300,
                hello=True,
            )
        )
        for _ in range(PROCESSES)
    ]  # fmt: skip


async def _rate(listening: list[Any], count: int, clients: int, started: float) -> float:
    seen = [await one.next(300) for one in listening]
    if (arrived := sum(one["count"] for one in seen)) != count * clients:
        raise LostEvents(f"{count} events to {clients} clients: {arrived} arrived")
    return (count - BATCH) / float(max(one["last"] for one in seen) - started)
