"""What journaling costs the legacy path: the hub fed by a publisher, against the bare hub."""

from typing import Any

from benchmarks.bench import Bench
from benchmarks.figures import Figure, LostEvents, alternating

__all__ = ["measure"]

EVENTS = 20_000
CLIENTS = 20
BATCH = 500
GOAL = 0.05


async def measure(bench: Bench) -> list[Figure]:
    """Events a second to every client, durability "os"."""
    count = bench.count(EVENTS, 1_000)
    found = await alternating(
        {"bare hub": lambda: _bare(bench, count), "publisher": lambda: _ours(bench, count)},
        bench.rounds,
        bench.tell,
    )
    bare, ours = found["bare hub"], found["publisher"]
    return [
        Figure(
            name=f"legacy path, {CLIENTS} clients", unit="events/s", value=ours, floor=bare,
            note='durability "os"; floor: ready-made frames to the same hub, no journal',
        ),
        Figure(
            name="overhead on the legacy path", unit="%", better="less",
            value=100 * max(0.0, 1 - ours / bare), goal=100 * GOAL,
            note="throughput lost against the bare hub",
        ),
    ]  # fmt: skip


async def _bare(bench: Bench, count: int) -> float:
    settings = bench.settings()
    async with bench.hub() as url, _clients(bench, url, count) as clients:
        order = {"settings": settings, "url": url, "count": count, "batch": BATCH}
        async with bench.worker("bare", **order) as publisher:
            started = (await publisher.next(300))["started"]
            return await _rate(clients, count, started)


async def _ours(bench: Bench, count: int) -> float:
    async with bench.hub() as url, _clients(bench, url, count) as clients:
        settings = bench.settings(
            supabase={"url": ""}, websocket={"url": url}, journal={"durability": "os"}
        )
        order = {"settings": settings, "count": count, "sinks": ["websocket"]}
        async with bench.worker("publisher", **order) as publisher:
            started = (await publisher.next(300))["started"]
            return await _rate(clients, count, started)


def _clients(bench: Bench, url: str, count: int) -> Any:
    order = {"url": url, "clients": CLIENTS, "count": count, "timeout_s": 300, "hello": True}
    return bench.worker("sockets", **order)


async def _rate(clients: Any, count: int, started: float) -> float:
    seen = await clients.next(300)
    if seen["count"] != count * CLIENTS:
        raise LostEvents(f"{count} events to {CLIENTS} clients: {seen['count']} arrived")
    return count / float(seen["last"] - started)
