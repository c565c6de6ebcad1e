"""A small model of everything around a sequencer, with nothing of its code in it.

A publisher with a log per stream, two lossy networks, stores with floors, a consumer whose
effects are kept together with its positions. Whatever the schedule does, ``check`` must
hold after every step and ``finish`` must end with nothing missing.
"""

from typing import Any

from crossfade.core.continuity import Lost
from crossfade.core.event import Event, Head, Stream
from crossfade.core.flow import Fill
from crossfade.core.sequencer import Fact, Sequencer

OLD = Stream("app", 1, "critical", 0)
NEW = Stream("app", 2, "critical", 0)
PLAIN = Stream("app", 1, "debug", 3)
STREAMS = (OLD, NEW, PLAIN)
TRANSPORTS = ("websocket", "realtime")
BUFFER = 6
GRACE_MS = 250


def make(stream: Stream, sequence: int) -> Event:
    return Event(
        id=f"{stream.epoch}-{stream.topic}-{sequence}",
        source=stream.source,
        type="t",
        time_us=sequence,
        subject="",
        category=stream.topic,
        topic=stream.topic,
        partition=stream.partition,
        epoch=stream.epoch,
        sequence=sequence,
        data="{}",
        hash=(stream.epoch * 50 + stream.partition) * 1_000_003 + sequence,
    )


class World:
    def __init__(self) -> None:
        self.now = 0
        self.heads = dict.fromkeys(STREAMS, 0)
        # What each store still gives; the table holds a stream from ``table_from`` on.
        self.journal_floor = dict.fromkeys(STREAMS, 1)
        self.table_from: dict[Stream, int | None] = dict.fromkeys(STREAMS, None)
        self.served = {"websocket"}
        # Transports without a connection, and from where the hub's history reaches.
        self.down: set[str] = set()
        self.history_from = dict.fromkeys(STREAMS, 1)
        self.packets: dict[str, list[Any]] = {name: [] for name in TRANSPORTS}
        self.fills: list[Fill] = []
        # The consumer: its effects, and the durable copy that a crash falls back to.
        self.effects: list[Event | Lost] = []
        self.saved: tuple[list[Event | Lost], dict[Stream, int]] = ([], {})
        self.told = dict.fromkeys(STREAMS, 0)
        self.released = False
        self.sequencer = self._sequencer({})

    def _sequencer(self, positions: dict[Stream, int]) -> Sequencer:
        sequencer = Sequencer(
            positions=positions, buffer_events=BUFFER, hole_grace_ms=GRACE_MS, fills=2
        )
        sequencer.settle()
        return sequencer

    # -- the publisher and the stores --------------------------------------------------

    def publish(self, stream: Stream, count: int) -> None:
        if stream == OLD and self.heads[NEW]:
            return  # its journal is gone
        first = self.heads[stream] + 1
        self.heads[stream] += count
        batch = [make(stream, first + number) for number in range(count)]
        if self.table_from[stream] is None and "realtime" in self.served:
            self.table_from[stream] = first
        for transport in self.served - self.down:
            self.packets[transport].append(batch)

    def retain(self, stream: Stream, floor: int) -> None:
        """Both stores forget what lies below ``floor``."""
        floor = min(floor, self.heads[stream])
        self.journal_floor[stream] = max(self.journal_floor[stream], floor)
        held = self.table_from[stream]
        if held is not None:
            self.table_from[stream] = max(held, floor)

    def announce(self, transport: str) -> None:
        """The second's heads frame, like everything else subject to loss and delay."""
        if transport not in self.down:
            self.packets[transport].append(dict(self.heads))

    def switch(self, transports: set[str]) -> None:
        self.served = transports

    def outage(self, transport: str, *, forgets: bool) -> None:
        """A connection breaks: what was under way is gone, what is sent now never comes.

        ``forgets``: it was the hub that died, and its history with it.
        """
        self.down.add(transport)
        self.packets[transport].clear()
        if forgets and transport == "websocket":
            self.history_from = {stream: head + 1 for stream, head in self.heads.items()}

    def reconnect(self, transport: str) -> None:
        """Realtime only goes on; the hub tells its heads, then sends its history by position."""
        self.down.discard(transport)
        if transport != "websocket":
            return
        rows = [Head(stream, head) for stream, head in self.heads.items() if head]
        self.sequencer.meet(rows, self.now)
        if self.heads[NEW]:
            self._tell({OLD: self.heads[OLD]})
        positions = self.sequencer.positions()
        for stream, head in self.heads.items():
            first = max(positions.get(stream, 1), self.history_from[stream])
            if first <= head:
                batch = [make(stream, one) for one in range(first, head + 1)]
                self.packets[transport].append(batch)

    # -- the networks ------------------------------------------------------------------

    def deliver(self, transport: str, pick: int, *, keep: bool = False) -> None:
        packets = self.packets[transport]
        if not packets:
            return
        packet = packets[pick % len(packets)]
        if not keep:
            packets.remove(packet)
        if isinstance(packet, dict):
            rows = [Head(stream, head) for stream, head in packet.items() if head]
            self.sequencer.heads(rows, self.now)
            self._tell(packet)
        else:
            self._tell({event.stream: event.sequence for event in packet})
            self.take(self.sequencer.receive(packet, transport, self.now))

    def lose(self, transport: str, pick: int) -> None:
        packets = self.packets[transport]
        if packets:
            packets.pop(pick % len(packets))

    def _tell(self, known: dict[Stream, int]) -> None:
        for stream, sequence in known.items():
            self.told[stream] = max(self.told[stream], sequence)

    # -- time, fills, crashes ----------------------------------------------------------

    def tick(self, ms: int) -> None:
        self.now += ms
        self.fills += self.sequencer.tick(self.now)

    def answer(self, pick: int, page: int) -> None:
        """Answer a fill with at most ``page`` events; negative is a failure."""
        if not self.fills:
            return
        fill = self.fills.pop(pick % len(self.fills))
        if page < 0:
            self.take(self.sequencer.fill_failed(fill, self.now))
            return
        stream = fill.stream
        head = self.heads[stream]
        floor: int | None = self.journal_floor[stream]
        if fill.source == "supabase":
            floor = self.table_from[stream]
        if floor is None or not head:
            self.take(self.sequencer.filled(fill, [], None, None, self.now))
            return
        first, last = max(fill.first, floor), min(fill.last, head)
        events = [make(stream, one) for one in range(first, min(last, first + page - 1) + 1)]
        self.take(self.sequencer.filled(fill, events, floor, head, self.now))

    def save(self) -> None:
        """Effects and positions become durable together."""
        self.saved = (list(self.effects), self.sequencer.positions())

    def crash(self) -> None:
        """Everything in memory is gone: what was saved is where it goes on."""
        effects, positions = self.saved
        self.effects = list(effects)
        self.fills = []
        self.told = {stream: positions.get(stream, 1) - 1 for stream in STREAMS}
        self.released = positions.get(NEW, 1) > 1
        self.sequencer = self._sequencer(positions)

    # -- what must hold ----------------------------------------------------------------

    def take(self, facts: list[Fact]) -> None:
        for fact in facts:
            assert isinstance(fact, Event | Lost), f"a conflict without a forger: {fact}"
            stream = fact.stream
            if isinstance(fact, Lost):
                floors = [self.journal_floor[stream], self.table_from[stream]]
                assert all(fact.last < floor for floor in floors if floor is not None), (
                    f"{fact} is given up, but a store holds it: {floors}"
                )
            elif stream == NEW and not self.released:
                assert self.next(OLD) > self.told[OLD], "a new epoch overtook the old one"
                self.released = True
            self.effects.append(fact)

    def next(self, stream: Stream) -> int:
        """The sequence that must come next, from the effects alone."""
        following = 1
        for effect in self.effects:
            if effect.stream != stream:
                continue
            if isinstance(effect, Lost):
                assert effect.first == following, f"{effect} does not follow {following - 1}"
                following = effect.last + 1
            else:
                assert effect.sequence == following, (
                    f"{effect.position} was handed over, {following} was next"
                )
                following += 1
        return following

    def check(self) -> None:
        for stream in STREAMS:
            following = self.next(stream)
            assert following - 1 <= self.heads[stream]
            assert self.sequencer.positions().get(stream, 1) == following
        assert self.sequencer.buffered <= BUFFER
        assert len(self.fills) <= 2

    def finish(self) -> None:
        """The network heals: everything comes out, or is lost with proof."""
        self.down.clear()
        for packets in self.packets.values():
            packets.clear()
        for fill in self.fills:
            self.take(self.sequencer.fill_failed(fill, self.now))
        self.fills = []
        self.announce("websocket")
        self.deliver("websocket", 0)
        for _ in range(400):
            self.tick(20_000)
            while self.fills:
                self.answer(0, 5)
            self.check()
            if all(self.next(stream) > self.heads[stream] for stream in STREAMS):
                break
        for stream in STREAMS:
            assert self.next(stream) == self.heads[stream] + 1, f"{stream} is not complete"
        assert self.sequencer.holes == self.sequencer.buffered == 0
        handed = [effect for effect in self.effects if isinstance(effect, Event)]
        assert handed == [make(event.stream, event.sequence) for event in handed], "altered"
