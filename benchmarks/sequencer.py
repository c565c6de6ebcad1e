"""The sequencer: events a second while both transports deliver each, and memory a partition."""

import time
import tracemalloc
from functools import partial

from benchmarks.bench import Bench
from benchmarks.figures import Figure, LostEvents, alternating
from crossfade.core.event import Event
from crossfade.core.sequencer import Sequencer

__all__ = ["frames", "measure"]

EVENTS = 200_000
PARTITIONS = 50
FRAME = 50
LAG_FRAMES = 3
MEMORY_PARTITIONS = 10_000


async def measure(bench: Bench) -> list[Figure]:
    """Pure Python, one core."""
    batches = frames(bench.count(EVENTS, 20_000))
    found = await alternating(
        {
            "sequencer": partial(_ordered, batches),
            "set of seen ids": partial(_deduplicated, batches),
        },
        max(3, bench.rounds),
        bench.tell,
    )
    bench.tell("memory")
    return [
        Figure(
            name="sequencer, both transports live", unit="events/s", value=found["sequencer"],
            floor=found["set of seen ids"], goal=500_000,
            note="floor: a set of seen ids, which grows for ever and neither orders nor fills",
        ),
        Figure(
            name="sequencer's memory", unit="bytes/partition", better="less", value=_memory(),
            note=f"{MEMORY_PARTITIONS:,} partitions, nothing waiting",
        ),
    ]  # fmt: skip


def frames(count: int) -> list[list[Event]]:
    """Events of all partitions in turn, cut into frames."""
    events = [
        Event(
            f"id{number}", "app", "t", 1, "key", "critical", "critical", number % PARTITIONS, 1,
            number // PARTITIONS + 1, "{}", number * 7_919,
        )
        for number in range(count)
    ]  # fmt: skip
    return [events[start : start + FRAME] for start in range(0, count, FRAME)]


async def _ordered(batches: list[list[Event]]) -> float:
    """Realtime follows WebSocket some frames behind."""
    sequencer = Sequencer()
    handed = 0
    started = time.perf_counter()
    for number, batch in enumerate(batches):
        handed += len(sequencer.receive(batch, "websocket", number))
        if number >= LAG_FRAMES:
            sequencer.receive(batches[number - LAG_FRAMES], "realtime", number)
    seconds = time.perf_counter() - started
    sent = sum(map(len, batches))
    if handed != sent:
        raise LostEvents(f"{handed} events were handed over, {sent} were sent")
    return sent / seconds


async def _deduplicated(batches: list[list[Event]]) -> float:
    seen: set[str] = set()
    handed: list[Event] = []
    started = time.perf_counter()
    for number, batch in enumerate(batches):
        for one in (batch, batches[number - LAG_FRAMES] if number >= LAG_FRAMES else ()):
            for event in one:
                if event.id not in seen:
                    seen.add(event.id)
                    handed.append(event)
    return len(handed) / (time.perf_counter() - started)


def _memory() -> float:
    events = [
        Event(f"{n}", "app", "t", 1, "", "critical", "critical", n, 1, 1, "{}", n)
        for n in range(MEMORY_PARTITIONS)
    ]
    tracemalloc.start()
    try:
        sequencer = Sequencer()
        sequencer.receive(events, "websocket", 0)
        return tracemalloc.get_traced_memory()[0] / MEMORY_PARTITIONS
    finally:
        tracemalloc.stop()
