"""The sequencer: whatever the transports do, each stream comes out as 1, 2, 3, …

Sans-I/O, in the manner of a protocol state machine: events, heads and fills go in, facts
and wanted fills come out; time is an argument. It is not a frozen state because it sees
every event twice while both transports are live (DESIGN section 5; I2, I3, I10).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from crossfade.core.continuity import Continuity, DeliveryConflict, Lost, Tally
from crossfade.core.event import Event, Head, Stream
from crossfade.core.flow import RECENT, Fill, Flow, Progress, prove

__all__ = ["Fact", "Sequencer", "Start"]

Fact = Event | Lost | DeliveryConflict
"""What comes out: an event to hand over, a gap for good, or a contradiction."""

Start = Literal["earliest", "latest"]

_RECENT_MASK = RECENT - 1


class Sequencer:
    """Puts the events of any number of streams in order, once each, and finds what is missing.

    An event below ``next`` is a duplicate; the one at ``next`` is delivered, and with it
    what waited behind it; one above waits in the buffer. Heads and waiting events open
    holes; a hole older than the grace asks one source after the other for a fill, one at a
    time. Only delivered events move a stream on, except where every source says that it
    holds nothing so low any more: then the range is ``Lost``.

    A stream of a newer epoch waits until the older ones of the same source, topic and
    partition have delivered all that is known of them.

    Args:
        transports: names of the live transports (``via`` of ``receive``).
        sources: names of the stores to ask for fills, in order. The ``authority`` among
            them speaks for the publisher's journal: as long as it can not give a floor,
            nothing is given up.
        start: where a stream without a position begins: ``earliest`` (1, or the lowest
            floor of the sources) or ``latest`` (behind the first head, or at the first
            event seen). After ``settle`` it begins at 1, because it was born since.
        positions: per stream the sequence to deliver next.
        buffer_events: events that may wait, all streams together. Above it the highest of
            the stream at hand is dropped, remembered, and fetched again later.
        hole_grace_ms: how long a hole may mend itself before a fill is wanted.
        retry_max_ms: longest pause between two rounds over the sources.
        fills: fills under way at once, all streams together.
    """

    def __init__(
        self,
        *,
        transports: Sequence[str] = ("websocket", "realtime"),
        sources: Sequence[str] = ("hub", "supabase"),
        authority: str = "hub",
        start: Start = "earliest",
        positions: Mapping[Stream, int] | None = None,
        buffer_events: int = 10_000,
        hole_grace_ms: int = 250,
        retry_max_ms: int = 5_000,
        fills: int = 8,
    ) -> None:
        self._names = (*transports, *sources, "lost")
        self._index = {name: number for number, name in enumerate(self._names)}
        self._lost = self._index["lost"]
        self._sources = tuple(sources)
        self._authority = authority
        self._start: Start = start
        self._settled = False
        self._buffer_events = buffer_events
        self._grace_ms = hole_grace_ms
        self._retry_max_ms = retry_max_ms
        self._fills = fills
        self._flows: dict[tuple[str, int, str, int], Flow] = {}
        self._lanes: dict[tuple[str, str, int], list[Flow]] = {}
        self._partitions: dict[tuple[str, int], list[Flow]] = {}
        self._tallies: dict[str, Tally] = {}
        self._ahead: dict[Flow, None] = {}
        self._held = 0
        self._filling = 0
        for stream, following in sorted((positions or {}).items()):
            flow = self._add(stream, following)
            flow.origin = 1  # above it, something was handed over before the restart

    # -- what comes in -----------------------------------------------------------------

    def receive(self, events: Iterable[Event], via: str, now_ms: int) -> list[Fact]:
        """Take events that ``via`` (a transport or a source) brought, in any order."""
        facts: list[Fact] = []
        deliver = facts.append
        flows = self._flows
        number = self._index[via]
        for event in events:
            # By number, because attribute access of a named tuple costs twice as much:
            # source, epoch, topic, partition; 9 is the sequence, 11 the hash.
            flow = flows.get((event[1], event[8], event[6], event[7]))
            sequence = event[9]
            if flow is None:
                flow = self._open(event.stream, sequence)
            following = flow.next
            if sequence == following and not flow.waits:
                deliver(event)
                flow.next = following + 1
                flow.recent[sequence & _RECENT_MASK] = event[11]
                tally = flow.tally
                tally.first[number] += 1
                tally.total += event[11]
                if flow.ahead:
                    self._advance(flow, number, facts, now_ms)
            elif sequence < following:
                flow.tally.duplicates[number] += 1
                if (
                    flow.recent[sequence & _RECENT_MASK] != event[11]
                    and sequence >= following - RECENT
                    and sequence >= flow.known_from
                ):
                    self._contradict(flow, event, via, facts)
            else:
                self._wait(flow, event, number, facts, now_ms)
        return facts

    def heads(self, heads: Iterable[Head], now_ms: int) -> None:
        """Take heads: what is known to exist and is not here opens a hole."""
        for head in sorted(heads):
            flow = self._flows.get(head.stream)
            if flow is None:
                flow = self._open(head.stream, head.sequence + 1)
            flow.mark(head.sequence, now_ms)
            if flow.marks and not (flow.ahead and flow.order):
                self._look(flow, now_ms)

    def meet(self, heads: Iterable[Head], now_ms: int) -> None:
        """Take heads of streams that are about to be caught up with.

        They open no hole yet, except in an epoch that is over: the next one waits for it.
        """
        heads = sorted(heads)
        newest = {_lane(head.stream): head.stream.epoch for head in heads}
        for head in heads:
            stream = head.stream
            flow = self._flows.get(stream) or self._open(stream, head.sequence + 1)
            if stream.epoch < newest[_lane(stream)]:
                flow.mark(head.sequence, now_ms)
                self._look(flow, now_ms)

    def settle(self) -> None:
        """From now on a stream that was never seen before begins at 1: it is new."""
        self._settled = True

    # -- fills -------------------------------------------------------------------------

    def tick(self, now_ms: int) -> list[Fill]:
        """The fills to start now; each is answered by ``filled`` or ``fill_failed``."""
        wanted: list[Fill] = []
        for flow in self._ahead:
            if self._filling >= self._fills:
                break
            if (
                flow.waits
                or flow.fill is not None
                or now_ms < flow.not_before_ms
                or now_ms - flow.gap_ms < self._grace_ms
                or flow.gap_last < flow.next
            ):
                continue
            flow.fill = Fill(flow.stream, flow.next, flow.gap_last, self._sources[flow.turn])
            self._filling += 1
            wanted.append(flow.fill)
        return wanted

    def filled(
        self,
        fill: Fill,
        events: Sequence[Event],
        floor: int | None,
        head: int | None,
        now_ms: int,
    ) -> list[Fact]:
        """Take a page; ``floor`` and ``head`` are what the source holds of the stream.

        A short or empty page proves nothing by itself: the next source is asked.
        """
        flow = self._flows[fill.stream]
        answered = self._ends(flow, fill)
        facts = self.receive(events, fill.source, now_ms)
        if not answered or not flow.ahead:
            return facts
        if flow.next > fill.first:
            flow.attempts = 0
            flow.answers.clear()
            return facts
        flow.answers[flow.turn] = prove(
            fill, events, floor, head, by_authority=fill.source == self._authority
        )
        self._next_source(flow, facts, now_ms)
        return facts

    def fill_failed(self, fill: Fill, now_ms: int) -> list[Fact]:
        """The source did not answer: the next one is asked, and nothing is given up."""
        flow = self._flows[fill.stream]
        facts: list[Fact] = []
        if self._ends(flow, fill) and flow.ahead:
            flow.answers[flow.turn] = None
            self._next_source(flow, facts, now_ms)
        return facts

    @property
    def buffered(self) -> int:
        """Events that wait for an earlier one."""
        return self._held

    @property
    def holes(self) -> int:
        """Streams that have a hole now."""
        return len(self._ahead)

    def positions(self, streams: Iterable[Stream] | None = None) -> dict[Stream, int]:
        """Per stream (of ``streams``, as far as known) the sequence to be delivered next."""
        flows = self._flows
        known = flows if streams is None else [one for one in streams if one in flows]
        return {flows[one].stream: flows[one].next for one in known}

    def progress(self, topic: str, partition: int) -> list[Progress]:
        """Where the streams of a partition stand."""
        flows = self._partitions.get((topic, partition), ())
        return [Progress(flow.stream, flow.next, flow.head) for flow in flows]

    def continuity(self, now_ms: int = 0) -> dict[str, Continuity]:
        """The report per source; with ``now_ms`` open holes count into the longest."""
        found: dict[str, Continuity] = {}
        for source, tally in self._tallies.items():
            flows = [flow for flow in self._flows.values() if flow.stream.source == source]
            gaps = [flow for flow in flows if flow.ahead and not flow.waits]
            found[source] = Continuity.of(
                source,
                tally,
                self._names,
                streams=len(flows),
                open_holes=len(gaps),
                buffered=sum(len(flow.order) for flow in flows),
                longest_ms=max((now_ms - flow.gap_ms for flow in gaps), default=0),
            )
        return found

    def _open(self, stream: Stream, latest: int) -> Flow:
        late = self._start == "latest" and not self._settled
        flow = self._add(stream, latest if late else 1)
        flow.movable = not late and not self._settled
        return flow

    def _add(self, stream: Stream, start: int) -> Flow:
        tally = self._tallies.get(stream.source)
        if tally is None:
            tally = self._tallies[stream.source] = Tally(len(self._names))
        lane = self._lanes.setdefault(_lane(stream), [])
        flow = Flow(stream, start, tally, lane)
        flow.waits = any(
            (one.ahead or one.waits) and one.stream.epoch < stream.epoch for one in lane
        )
        lane.append(flow)
        lane.sort(key=lambda one: one.stream.epoch)
        self._flows[stream] = flow
        self._partitions.setdefault((stream.topic, stream.partition), []).append(flow)
        return flow

    def _release(self, lane: list[Flow], facts: list[Fact], now_ms: int) -> None:
        """Let the next epoch go on, now that an older one is complete as far as known."""
        for flow in lane:
            if flow.waits:
                flow.waits = False
                if flow.ahead:
                    self._deliver_waiting(flow, facts)
                    self._look(flow, now_ms)
                    flow.tally.holes += flow.ahead
            if flow.ahead:
                return

    # -- holes -------------------------------------------------------------------------

    def _wait(self, flow: Flow, event: Event, number: int, facts: list[Fact], now_ms: int) -> None:
        sequence = event.sequence
        tally = flow.tally
        held = flow.buffer.get(sequence)
        if held is not None:
            tally.duplicates[number] += 1
            if held[0].hash != event.hash:
                self._contradict(flow, event, self._names[number], facts)
            return
        tally.reordered += 1
        if self._held >= self._buffer_events:
            tally.evicted += 1
            if flow.order and flow.order[-1] > sequence:
                flow.evict_highest(now_ms)
                flow.hold(event, number, now_ms)
            else:
                flow.mark(sequence, now_ms)
        else:
            self._held += 1
            flow.hold(event, number, now_ms)
        if not flow.ahead:
            self._look(flow, now_ms)
        elif flow.order:
            flow.gap_last = flow.order[0] - 1

    def _look(self, flow: Flow, now_ms: int) -> None:
        """See whether a hole stands before ``next``, and count a new one."""
        was_ahead = flow.ahead
        flow.ahead = flow.look_for_gap()
        if flow.ahead and not was_ahead:
            self._ahead[flow] = None
            flow.tally.holes += not flow.waits
            for younger in flow.lane[flow.lane.index(flow) + 1 :]:
                # It may wait as long as nothing of it has been handed over.
                younger.waits = younger.waits or younger.next == younger.origin
        elif was_ahead and not flow.ahead:
            del self._ahead[flow]

    def _advance(self, flow: Flow, number: int, facts: list[Fact], now_ms: int) -> None:
        """``next`` has moved: deliver what waited for it, and see whether the hole is closed."""
        if flow.order:
            self._deliver_waiting(flow, facts)
        if flow.next <= flow.gap_last:
            return
        tally = flow.tally
        tally.healed[number] += 1
        tally.longest_ms = max(tally.longest_ms, now_ms - flow.gap_ms)
        flow.calm()
        if flow.look_for_gap():
            tally.holes += 1
            return
        flow.ahead = False
        del self._ahead[flow]
        if len(flow.lane) > 1:
            self._release(flow.lane, facts, now_ms)

    def _deliver_waiting(self, flow: Flow, facts: list[Fact]) -> None:
        following = flow.next
        buffer, recent, tally = flow.buffer, flow.recent, flow.tally
        count = 0
        for sequence in flow.order:
            if sequence != following:
                break
            event, number, _ = buffer.pop(sequence)
            facts.append(event)
            recent[sequence & _RECENT_MASK] = event.hash
            tally.first[number] += 1
            tally.total += event.hash
            following += 1
            count += 1
        del flow.order[:count]
        self._held -= count
        flow.next = following

    def _contradict(self, flow: Flow, event: Event, via: str, facts: list[Fact]) -> None:
        held = flow.buffer.get(event.sequence)
        kept = flow.recent[event.sequence & _RECENT_MASK] if held is None else held[0].hash
        flow.tally.conflicts += 1
        facts.append(DeliveryConflict(event.position, kept, event.hash, via))

    # -- sources -----------------------------------------------------------------------

    def _ends(self, flow: Flow, fill: Fill) -> bool:
        if flow.fill is not fill:
            return False
        flow.fill = None
        self._filling -= 1
        return True

    def _next_source(self, flow: Flow, facts: list[Fact], now_ms: int) -> None:
        flow.turn = (flow.turn + 1) % len(self._sources)
        if len(flow.answers) < len(self._sources):
            return
        # Every source has been asked about this very sequence, and none had it.
        flow.attempts += 1
        gone = flow.given_up()
        flow.answers.clear()
        if gone is not None:
            self._lose(flow, *gone, facts, now_ms)
            return
        pause_ms = max(self._grace_ms, 50) << min(flow.attempts, 10)
        flow.not_before_ms = now_ms + min(pause_ms, self._retry_max_ms)

    def _lose(self, flow: Flow, last: int, reason: str, facts: list[Fact], now_ms: int) -> None:
        first = flow.next
        if flow.movable and first == flow.origin:
            flow.tally.skipped += last + 1 - first
            flow.origin = last + 1
        else:
            lost = Lost(flow.stream, first, last, reason)
            flow.tally.lose(lost)
            facts.append(lost)
        flow.next = flow.known_from = last + 1
        self._advance(flow, self._lost, facts, now_ms)


def _lane(stream: Stream) -> tuple[str, str, int]:
    return stream.source, stream.topic, stream.partition
