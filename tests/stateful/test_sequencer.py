"""The sequencer against the model in ``world``, under any schedule (I2, I3, I10).

Loss, duplication, delay, reordering, outages, reconnects, switches, crashes and restarts,
epochs, retention, failed fills: each is a rule of the machine.
"""

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.stateful.world import NEW, STREAMS, TRANSPORTS, World

streams = st.sampled_from(STREAMS)
transports = st.sampled_from(TRANSPORTS)
picks = st.integers(0, 5)


class SequencerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @rule(stream=streams, count=st.integers(1, 5))
    def publish(self, stream, count) -> None:  # type: ignore[no-untyped-def]
        self.world.publish(stream, count)

    @rule(transport=transports, pick=picks, keep=st.booleans())
    def deliver(self, transport, pick, keep) -> None:  # type: ignore[no-untyped-def]
        self.world.deliver(transport, pick, keep=keep)

    @rule(transport=transports, pick=picks)
    def lose(self, transport, pick) -> None:  # type: ignore[no-untyped-def]
        self.world.lose(transport, pick)

    @rule(transport=transports)
    def announce(self, transport) -> None:  # type: ignore[no-untyped-def]
        self.world.announce(transport)

    @rule(served=st.sets(transports, min_size=1))
    def switch(self, served) -> None:  # type: ignore[no-untyped-def]
        self.world.switch(served)

    @rule(transport=transports, forgets=st.booleans())
    def outage(self, transport, forgets) -> None:  # type: ignore[no-untyped-def]
        self.world.outage(transport, forgets=forgets)

    @rule(transport=transports)
    def reconnect(self, transport) -> None:  # type: ignore[no-untyped-def]
        self.world.reconnect(transport)

    @rule(ms=st.sampled_from([10, 100, 300, 2_000, 10_000]))
    def tick(self, ms) -> None:  # type: ignore[no-untyped-def]
        self.world.tick(ms)

    @rule(pick=picks, page=st.integers(-1, 4))
    def answer(self, pick, page) -> None:  # type: ignore[no-untyped-def]
        self.world.answer(pick, page)

    @rule(stream=streams, floor=st.integers(1, 12))
    def retain(self, stream, floor) -> None:  # type: ignore[no-untyped-def]
        self.world.retain(stream, floor)

    @rule()
    def save(self) -> None:
        self.world.save()

    @rule()
    def crash(self) -> None:
        self.world.crash()

    @invariant()
    def holds(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        self.world.finish()


TestI2I10AnySchedule = SequencerMachine.TestCase
TestI2I10AnySchedule.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def run(seed: int, *, switches: bool) -> World:
    """A long schedule: mostly healthy, with an outage of each transport and a few crashes."""
    dice = random.Random(seed)
    world = World()
    for step in range(400):
        world.publish(dice.choice(STREAMS if step > 200 else STREAMS[:1] + STREAMS[2:]), 1)
        for transport in TRANSPORTS:
            out = transport == "realtime" and step % 150 > 120
            out = out or (transport == "websocket" and step % 170 > 150)
            for _ in range(dice.randint(0, 3)):
                if out or dice.random() < 0.1:
                    world.lose(transport, dice.randint(0, 5))
                else:
                    world.deliver(transport, dice.randint(0, 5), keep=dice.random() < 0.1)
            if dice.random() < 0.1:
                world.announce(transport)
        if dice.random() < 0.02:
            world.outage(dice.choice(TRANSPORTS), forgets=dice.random() < 0.5)
        if world.down and dice.random() < 0.2:
            world.reconnect(sorted(world.down)[0])
        world.tick(dice.choice([10, 50, 100]))
        for _ in range(dice.randint(0, 2)):
            world.answer(dice.randint(0, 3), dice.randint(-1, 5))
        if switches and dice.random() < 0.05:
            world.switch(dice.choice([{"websocket"}, {"realtime"}, {"websocket", "realtime"}]))
        if dice.random() < 0.1:
            world.save()
        if dice.random() < 0.01:
            world.crash()
        if dice.random() < 0.005:
            world.retain(dice.choice(STREAMS), dice.randint(1, 40))
        world.check()
    return world


@pytest.mark.parametrize("seed", range(12))
def test_i2_long_schedules_end_complete(seed: int) -> None:
    world = run(seed, switches=True)
    world.finish()
    assert world.heads[NEW], "the schedule must reach the second epoch"


@pytest.mark.parametrize("seed", range(4))
def test_i3_output_with_switches_equals_output_without(seed: int) -> None:
    # No retention here, so that both must hand over every single event.
    outputs = []
    for switches in (True, False):
        dice, publisher = random.Random(seed), random.Random(seed)
        world = World()
        for _ in range(300):
            world.publish(publisher.choice(STREAMS[1:]), 1)
            change = dice.choice([{"websocket"}, {"realtime"}, {"websocket", "realtime"}])
            if switches and dice.random() < 0.1:
                world.switch(change)
            for transport in TRANSPORTS:
                world.deliver(transport, dice.randint(0, 4))
                if dice.random() < 0.1:
                    world.lose(transport, 0)
            world.tick(100)
            world.answer(0, dice.randint(-1, 5))
            world.check()
        world.finish()
        outputs.append(
            {stream: [one for one in world.effects if one.stream == stream] for stream in STREAMS}
        )
    assert outputs[0] == outputs[1]
