"""How many events a second the sequencer hands over while both transports deliver each of them.

``python benchmarks/sequencer.py``: prints the best of five rounds; the aim is 500,000.
"""

import time

from crossfade.core.event import Event
from crossfade.core.sequencer import Sequencer

EVENTS = 200_000
PARTITIONS = 50
FRAME = 50
LAG_FRAMES = 3


def frames() -> list[list[Event]]:
    """Events of all partitions in turn, cut into frames."""
    events = [
        Event(
            f"id{number}", "app", "t", 1, "key", "critical", "critical", number % PARTITIONS, 1,
            number // PARTITIONS + 1, "{}", number * 7_919,
        )
        for number in range(EVENTS)
    ]  # fmt: skip
    return [events[start : start + FRAME] for start in range(0, EVENTS, FRAME)]


def measure(batches: list[list[Event]]) -> float:
    """Events handed over a second; Realtime follows WebSocket some frames behind."""
    sequencer = Sequencer()
    handed = 0
    started = time.perf_counter()
    for number, batch in enumerate(batches):
        handed += len(sequencer.receive(batch, "websocket", number))
        if number >= LAG_FRAMES:
            sequencer.receive(batches[number - LAG_FRAMES], "realtime", number)
    seconds = time.perf_counter() - started
    if handed != EVENTS:
        raise SystemExit(f"{handed} events were handed over, {EVENTS} were sent")
    return handed / seconds


if __name__ == "__main__":
    batches = frames()
    best = max(measure(batches) for _ in range(5))
    print(f"{best:,.0f} events/s, {1e6 / best:.2f} µs an event")
