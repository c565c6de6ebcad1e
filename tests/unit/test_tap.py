"""The tap's pairs: latencies of both transports on the same events."""

from pathlib import Path
from typing import Any

from crossfade.core.event import Event, Head, content_hash
from crossfade.core.route import REALTIME, WEBSOCKET
from crossfade.settings import Settings
from crossfade.tap import PAIRS, Tap
from tests.unit.manual_clock import ManualClock


def make_event(sequence: int, committed_us: int = 0) -> Event:
    event = Event(
        f"e{sequence}", "app", "t", sequence, "", "system", "system", 0, 1, sequence, "{}", 0,
        committed_us,
    )  # fmt: skip
    return event._replace(hash=content_hash(event))


class Kept:
    waiting = 0

    def __init__(self) -> None:
        self.rows: list[Any] = []

    def record(self, transport: str, events: Any, received_us: int, positions: Any = None) -> None:
        self.rows += [(transport, event.sequence) for event in events]


def make_tap(clock: ManualClock) -> Tap:
    settings = Settings.model_validate({"tap": {"path": Path("unused.db")}})
    tap = Tap(settings, clock=clock)
    tap._recording = Kept()  # type: ignore[assignment]
    tap._sequencer = tap._make_sequencer({})
    return tap


def histograms(tap: Tap, clock: ManualClock) -> dict[str, int]:
    return {via: one.take(0, clock.ms).latency_ms.n for via, one in tap._counts.items()}


def test_latency_is_measured_on_events_that_both_delivered() -> None:
    clock = ManualClock()
    tap = make_tap(clock)
    stamp = clock.now_us()
    clock.ms += 5
    tap.events(WEBSOCKET, [make_event(n, stamp) for n in (1, 2, 3)])
    assert histograms(tap, clock) == {"websocket": 0, "realtime": 0}
    clock.ms += 20
    tap.events(REALTIME, [make_event(2, stamp), make_event(3)])
    # 1 never came by Realtime, 3 came without its time of commit.
    assert histograms(tap, clock) == {"websocket": 1, "realtime": 1}
    tap.events(REALTIME, [make_event(2, stamp)])
    tap.events(WEBSOCKET, [make_event(2, stamp)])
    assert histograms(tap, clock) == {"websocket": 0, "realtime": 0}, "a repetition counts once"


def test_what_comes_from_a_history_is_no_measure() -> None:
    clock = ManualClock()
    tap = make_tap(clock)
    tap.met(WEBSOCKET, [Head(make_event(1).stream, 1)])
    tap.events(WEBSOCKET, [make_event(1, 1), make_event(2, 1)])
    tap.events(REALTIME, [make_event(1, 1), make_event(2, 1)])
    assert histograms(tap, clock) == {"websocket": 1, "realtime": 1}


def test_everything_is_recorded_even_what_is_not_new() -> None:
    clock = ManualClock()
    tap = make_tap(clock)
    tap.events(WEBSOCKET, [make_event(2), make_event(1), make_event(2)])
    tap.events(REALTIME, [make_event(1)])
    recording = tap._recording
    assert isinstance(recording, Kept)
    assert recording.rows == [("websocket", 2), ("websocket", 1), ("websocket", 2), ("realtime", 1)]


def test_i10_the_memory_of_pairs_is_bounded() -> None:
    clock = ManualClock()
    tap = make_tap(clock)
    for start in range(1, PAIRS + 5_000, 1_000):
        tap.events(WEBSOCKET, [make_event(n) for n in range(start, start + 1_000)])
    assert len(tap._pairs) == PAIRS
