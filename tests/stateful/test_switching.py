"""Sequencer and switch together, as a subscriber has them, under random schedules (I3, I5).

The hub here keeps order and forgets its history when it restarts; Realtime loses and reorders
frames, dies, and falls silent while it stands. Flags move partitions to and fro meanwhile.
"""

import random
from typing import Any

import pytest

from crossfade.core.event import Event, Head, Stream, content_hash
from crossfade.core.flags import EVERYTHING, Flags
from crossfade.core.flow import Fill
from crossfade.core.route import REALTIME, WEBSOCKET
from crossfade.core.sequencer import Sequencer
from crossfade.core.switch import Pace, Switch
from crossfade.feed import Feed
from crossfade.ports import FillPage
from tests.unit.manual_clock import ManualClock

PARTITIONS = 6
STREAMS = tuple(Stream("app", 1, "critical", number) for number in range(PARTITIONS - 1))
STEP_MS = 50
DEAF_MS = 1_000


def make(stream: Stream, sequence: int) -> Event:
    event = Event(
        f"{stream.partition}-{sequence}", "app", "t", sequence, "", "critical", "critical",
        stream.partition, 1, sequence, "{}", 0,
    )  # fmt: skip
    return event._replace(hash=content_hash(event))


class Simulation:
    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        random.seed(seed)  # the feed's own jitter: a schedule is the same at each run
        self.clock = ManualClock()
        self.heads = dict.fromkeys(STREAMS, 0)
        self.handed: dict[Stream, int] = dict.fromkeys(STREAMS, 0)
        # The hub: from where its history reaches, and where this client stands in it.
        self.hub_up = False
        self.history_from = dict.fromkeys(STREAMS, 1)
        self.cursors: dict[Stream, int] = {}
        self.covered: dict[str, frozenset[int]] = {}
        # Realtime: frames under way.
        self.realtime_up = True
        self.deaf = False
        self.listening = False
        self.frames: list[Any] = []
        self.realtime_well_ms = self.clock.ms
        self.known_ms: dict[int, int] = {}
        self.fills: list[Fill] = []
        self.revision = -1
        self.version = 0
        self.cohort: set[int] = set()
        sequencer = Sequencer(hole_grace_ms=100, buffer_events=20)
        pace = Pace(
            deaf_ms=DEAF_MS, drain_ms=300, return_ms=500, return_max_ms=2_000, timeout_ms=4_000
        )
        self.feed = Feed(
            sequencer,
            Switch(pace),
            topics=["critical"],
            discover=False,
            numbers_of=lambda _: frozenset(range(PARTITIONS)),
            subjects=None,
            queue_events=1_000,
            clock=self.clock,
        )
        self.connect_hub()

    # -- the outside -----------------------------------------------------------------------------

    def publish(self) -> None:
        stream = self.dice.choice(STREAMS)
        count = self.dice.randint(1, 3)
        first = self.heads[stream] + 1
        self.heads[stream] += count
        if self.listening and not self.deaf:
            self.frames.append([make(stream, first + number) for number in range(count)])

    def flags(self, percent: float) -> None:
        self.version += 1
        flags = Flags(
            version=self.version,
            partitions=PARTITIONS,
            topics={"critical": "critical"},
            served={EVERYTHING: percent},
        )
        self.cohort = {one for one in range(PARTITIONS) if flags.serves("critical", one)}
        self.feed.flags(flags)

    def connect_hub(self) -> None:
        self.hub_up = True
        self.feed.met(WEBSOCKET, self._rows())
        self._subscribe()

    def lose_hub(self, *, forget: bool) -> None:
        self.hub_up = False
        self.cursors, self.covered = {}, {}
        self.feed.left(WEBSOCKET, "gone")
        if forget:
            self.history_from = {stream: head + 1 for stream, head in self.heads.items()}

    def lose_realtime(self) -> None:
        self.realtime_up = False
        self._leave_realtime()
        for _ in range(3):
            self.feed.failed(REALTIME, "refused")

    def _leave_realtime(self) -> None:
        self.frames.clear()
        if self.listening:
            self.listening = False
            self.feed.left(REALTIME, "gone")

    def _rows(self) -> list[Head]:
        return [Head(stream, head, 1) for stream, head in self.heads.items() if head]

    def _subscribe(self) -> None:
        positions = self.feed.sequencer.positions()
        self.covered = self.feed.switch.wanted(WEBSOCKET)
        self.cursors = {
            stream: positions.get(stream, self.heads[stream] + 1)
            for stream in STREAMS
            if stream.partition in self.covered.get("critical", ())
        }
        self.feed.joined(WEBSOCKET, self.covered)

    # -- time ------------------------------------------------------------------------------------

    def step(self) -> None:
        self.clock.ms += STEP_MS
        if self.hub_up:
            self._hub_sends()
        if self.listening:
            self._realtime_sends()
        self.fills += self.feed.step()
        switch = self.feed.switch
        if self.revision != switch.revision:
            self.revision = switch.revision
            if self.hub_up:
                self._subscribe()
            wanted = bool(switch.wanted(REALTIME))
            if wanted and self.realtime_up and not self.listening:
                self.listening = True
                self.feed.joined(REALTIME, {"critical": None})
            elif not wanted:
                self._leave_realtime()
        while self.fills and self.dice.random() < 0.7:
            self._answer(self.fills.pop())
        self._consume()
        self._check()

    def _hub_sends(self) -> None:
        for stream, cursor in self.cursors.items():
            first = max(cursor, self.history_from[stream])
            last = min(self.heads[stream], first + 9)
            self.feed.events(WEBSOCKET, [make(stream, one) for one in range(first, last + 1)])
            self.cursors[stream] = max(first, last + 1)
        if self.clock.ms % 200 == 0:
            rows = [
                Head(stream, min(self.heads[stream], cursor - 1), 1)
                for stream, cursor in self.cursors.items()
            ]
            self.feed.heads(WEBSOCKET, rows, self.covered)

    def _realtime_sends(self) -> None:
        while self.frames and self.dice.random() < 0.7:
            frame = self.frames.pop(self.dice.randrange(min(3, len(self.frames))))
            if self.dice.random() < 0.9:
                self.feed.events(REALTIME, frame)
        if self.clock.ms % 200 == 0 and not self.deaf:
            self.realtime_well_ms = self.clock.ms
            self.feed.heads(REALTIME, self._rows(), {"critical": None})

    def _answer(self, fill: Fill) -> None:
        if self.dice.random() < 0.2 or (fill.source == "hub" and not self.hub_up):
            self.feed.fill_failed(fill)
            return
        head = self.heads[fill.stream]
        last = min(fill.last, head, fill.first + self.dice.randint(0, 6))
        page = [make(fill.stream, one) for one in range(fill.first, last + 1)]
        self.feed.filled(fill, FillPage(page, 1, head))

    def _consume(self) -> None:
        while (item := self.feed.take()) is not None:
            assert isinstance(item, Event), f"given up although every store holds it: {item}"
            self.handed[item.stream] += 1
            assert item == make(item.stream, self.handed[item.stream])

    def _check(self) -> None:
        """Realtime is not believed in while it is silent, since a stream of it is known."""
        for number in range(PARTITIONS):
            if self.feed.sequencer.progress("critical", number):
                self.known_ms.setdefault(number, self.clock.ms)
        if self.listening and not self.deaf:
            return
        for number in self.feed.switch.serving(REALTIME).get("critical", ()):
            if number in self.known_ms:
                silent_ms = self.clock.ms - max(self.realtime_well_ms, self.known_ms[number])
                assert silent_ms <= DEAF_MS + STEP_MS, f"{silent_ms} ms deaf, still believed in"

    def run(self, steps: int, *, switching: bool) -> None:
        dice = self.dice
        for _ in range(steps):
            chance = dice.random()
            if switching and chance < 0.02:
                self.flags(dice.choice([0, 25, 50, 100]))
            elif chance < 0.03:
                (self.lose_hub(forget=dice.random() < 0.5) if self.hub_up else self.connect_hub())
            elif chance < 0.04:
                if self.realtime_up:
                    self.lose_realtime()
                else:
                    self.realtime_up = True
            elif chance < 0.05:
                self.deaf = not self.deaf
            for _ in range(dice.randint(0, 2)):
                self.publish()
            self.step()

    def finish(self) -> None:
        self.realtime_up, self.deaf = True, False
        if not self.hub_up:
            self.connect_hub()
        self.flags(50)
        for _ in range(1_500):
            self.step()
            if self.handed == self.heads and self._is_settled():
                break
        assert self.handed == self.heads, "not everything came"
        assert self._is_settled()

    def _is_settled(self) -> bool:
        """Whether just those are served that the flags name, and none is on its way.

        Their number alone would not do: one may be on its way there and one on its way back.
        """
        switch = self.feed.switch
        served = switch.serving(REALTIME).get("critical", frozenset())
        return (
            served == switch.cohort().get("critical") == frozenset(self.cohort)
            and switch.applied == self.version
            and switch.failures == 0
        )


@pytest.mark.parametrize("seed", range(15))
def test_i3_i5_any_schedule_of_switches_and_outages_hands_over_everything(seed: int) -> None:
    simulation = Simulation(seed)
    simulation.flags(50)
    simulation.run(500, switching=True)
    simulation.finish()
    reports = simulation.feed.sequencer.continuity()["app"]
    assert reports.conflicts == reports.lost_events == 0
