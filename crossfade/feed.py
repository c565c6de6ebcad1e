"""A subscriber's inside: transports in, facts out in order, a bounded queue in between.

``Feed`` is the ``ports.Listener`` of a subscriber's transports. It drives the sequencer and
the switch, starts fills, and keeps what is handed over until the consumer takes it.
"""

import asyncio
import logging
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from crossfade.core.continuity import DeliveryConflict, Lost
from crossfade.core.event import Event, Head, Stream
from crossfade.core.flags import Flags
from crossfade.core.flow import Fill
from crossfade.core.route import REALTIME, WEBSOCKET, FellBack, SwitchFailed
from crossfade.core.sequencer import Fact, Sequencer
from crossfade.core.switch import Coverage, Switch
from crossfade.ports import Clock, FillPage
from crossfade.subscriber_counts import TransportCounts

__all__ = ["Feed"]

_log = logging.getLogger("crossfade.subscriber")

SETTLE_MS = 3_000
"""Without a hub: how long after Realtime's first heads a stream counts as newly born."""
QUIET_HUB_MS = 30_000
"""A hub that knows no stream was just started, perhaps: so long its publishers may take."""
LOGGED = 20
"""Conflicts and altered events of one kind that are logged; all are counted."""


class Feed:
    """Everything between the transports and the consumer; belongs to one event loop.

    Args:
        partitions: how many a topic has.
        topics: the topics to follow; ``discover`` adds those that heads or events name.
        numbers_of: the partitions of a topic to follow.
        subjects: hand over only events with one of these subjects; None for all.
        queue_events: above it ``room`` makes the transports wait. A frame under way may
            exceed it, and what the buffer held may follow.
    """

    def __init__(
        self,
        sequencer: Sequencer,
        switch: Switch,
        *,
        topics: Iterable[str],
        discover: bool,
        numbers_of: Callable[[str], frozenset[int]],
        subjects: frozenset[str] | None,
        queue_events: int,
        clock: Clock,
    ) -> None:
        self.sequencer = sequencer
        self.switch = switch
        self.counts = {WEBSOCKET: TransportCounts(), REALTIME: TransportCounts()}
        self.categories: Counter[str] = Counter()
        self.altered = 0
        self.queue: deque[Event | Lost] = deque()
        self.ready = asyncio.Event()
        """Set when something was put into ``queue``."""
        self._discover = discover
        self._numbers_of = numbers_of
        self._subjects = subjects
        self._limit = queue_events
        self._clock = clock
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._revision = -1
        self._listens: dict[str, dict[str, frozenset[int]]] = {WEBSOCKET: {}, REALTIME: {}}
        self._cohort: dict[str, frozenset[int]] = {}
        self._settle_ms: int | None = None
        self._settled = False
        self._met = False
        self._conflicts = 0
        for topic in topics:
            switch.follow(topic, numbers_of(topic))

    # -- the listener ----------------------------------------------------------------------

    def events(self, via: str, events: Sequence[Event]) -> None:
        """Sequence what a transport delivered, as far as it is listened to for it."""
        if self._discover:
            self._follow(event.topic for event in events)
        listens = self._listening(via)
        counts = self.counts[via]
        counts.received(len(events))
        wanted = [
            event
            for event in events
            if event.partition in listens.get(event.topic, ()) and self._intact(event, via)
        ]
        facts = self.sequencer.receive(wanted, via, self._clock.monotonic_ms())
        if facts:
            fresh = self._hand_over(facts)
            counts.delivered(fresh, self._cohort, self._clock.now_us())

    def heads(self, via: str, heads: Sequence[Head], coverage: Coverage | None) -> None:
        """Heads open holes where this transport is listened to, and prove that it is heard."""
        now_ms = self._clock.monotonic_ms()
        self.counts[via].head_ms = now_ms
        if self._discover:
            self._follow(head.stream.topic for head in heads)
        if via == WEBSOCKET and heads and not self._met:
            # The publishers of a hub that was restarted are back.
            self._meet(heads)
            self.settle()
        self.sequencer.heads(self._followed(heads, self._listening(via)), now_ms)
        self.switch.heard(via, self._meant(coverage), now_ms)
        if via == REALTIME:
            self._settle_within(SETTLE_MS)

    def met(self, via: str, heads: Sequence[Head]) -> None:
        """Streams that exist: where they start is settled before their history comes."""
        if self._discover:
            self._follow(head.stream.topic for head in heads)
        self._meet(heads)
        self.counts[via].replays(heads)
        self.counts[via].connected = True

    def joined(self, via: str, coverage: Coverage | None) -> None:
        """A subscription stands."""
        self.counts[via].connected = True
        self.switch.joined(via, self._meant(coverage))
        if via != WEBSOCKET:
            return
        if self._met:
            self.settle()
        else:
            self._settle_within(QUIET_HUB_MS)

    def left(self, via: str, reason: str) -> None:
        """A connection is gone."""
        self.counts[via].connected = False
        self.counts[via].head_ms = None
        self.switch.left(via)

    def failed(self, via: str, reason: str) -> None:
        """One more attempt in a row failed."""
        self.switch.failed(via)

    async def room(self) -> None:
        """Wait while the consumer is too far behind."""
        if not self._has_room.is_set():
            await self._has_room.wait()

    # -- time, flags, fills ------------------------------------------------------------------

    def flags(self, flags: Flags) -> None:
        """Take new flags."""
        for topic in flags.topics if self._discover else ():
            self.switch.follow(topic, self._numbers_of(topic))
        if self.switch.flags(flags, self._clock.monotonic_ms(), random.random()):  # noqa: S311
            _log.info("flags of version %d", flags.version)

    def settle(self) -> None:
        """From now on a stream that was never heard of is a new one."""
        if not self._settled:
            self._settled = True
            self.sequencer.settle()

    def _settle_within(self, wait_ms: int) -> None:
        """Settle after ``wait_ms``, or earlier if that was said already."""
        at_ms = self._clock.monotonic_ms() + wait_ms
        self._settle_ms = at_ms if self._settle_ms is None else min(self._settle_ms, at_ms)

    def step(self) -> list[Fill]:
        """Let time pass; returns the fills to start."""
        now_ms = self._clock.monotonic_ms()
        if self._settle_ms is not None and now_ms >= self._settle_ms:
            self.settle()
        for fact in self.switch.step(now_ms, self.sequencer.progress, random.random()):  # noqa: S311
            if isinstance(fact, FellBack):
                _log.warning(
                    "%s: %d partitions fell back to websocket: %s",
                    fact.topic,
                    len(fact.partitions),
                    fact.reason,
                )
            elif isinstance(fact, SwitchFailed):
                _log.warning(
                    "%s/%d was not switched to %s: %s",
                    fact.topic,
                    fact.partition,
                    fact.to,
                    fact.reason,
                )
        return self.sequencer.tick(now_ms) if self._has_room.is_set() else []

    def filled(self, fill: Fill, page: FillPage) -> None:
        """Take a page of a fill."""
        events = [event for event in page.events if self._intact(event, fill.source)]
        now_ms = self._clock.monotonic_ms()
        self._hand_over(self.sequencer.filled(fill, events, page.floor, page.head, now_ms))

    def fill_failed(self, fill: Fill) -> None:
        """A source gave no page."""
        self._hand_over(self.sequencer.fill_failed(fill, self._clock.monotonic_ms()))

    # -- the consumer's side -------------------------------------------------------------------

    def take(self) -> Event | Lost | None:
        """The next thing handed over; None when there is nothing."""
        if not self.queue:
            return None
        item = self.queue.popleft()
        if not self._has_room.is_set() and len(self.queue) <= self._limit // 2:
            self._has_room.set()
        return item

    def pending(self) -> dict[Stream, int]:
        """Per stream of what waits to be taken, the sequence of its first."""
        found: dict[Stream, int] = {}
        for item in self.queue:
            found.setdefault(item.stream, _first(item))
        return found

    # -- inside ----------------------------------------------------------------------------------

    def _meet(self, heads: Sequence[Head]) -> None:
        """These streams are there already: whoever begins at the latest begins behind them."""
        self._met = self._met or bool(heads)
        self.sequencer.meet(
            self._followed(heads, self.switch.followed()), self._clock.monotonic_ms()
        )

    def _hand_over(self, facts: Sequence[Fact]) -> list[Event]:
        fresh: list[Event] = []
        subjects = self._subjects
        queue = self.queue
        for fact in facts:
            if isinstance(fact, Event):
                fresh.append(fact)
                if subjects is None or fact.subject in subjects:
                    queue.append(fact)
            elif isinstance(fact, Lost):
                _log.error("lost for good (%s): %s %d to %d", fact.reason, *_where(fact))
                queue.append(fact)
            else:
                self._conflict(fact)
        self.categories.update(event.category for event in fresh)
        if queue:
            self.ready.set()
            if len(queue) >= self._limit:
                self._has_room.clear()
        return fresh

    def _conflict(self, conflict: DeliveryConflict) -> None:
        self._conflicts += 1
        if self._conflicts <= LOGGED:
            _log.error(
                "conflict: %s came by %s with another content; the first one stays",
                conflict.position,
                conflict.via,
            )

    def _intact(self, event: Event, where: str) -> bool:
        if event.is_intact():
            return True
        self.altered += 1
        if self.altered <= LOGGED:
            _log.error(
                "%s: %s does not have the content of its hash; it is fetched from elsewhere",
                where,
                event.position,
            )
        return False

    def _listening(self, via: str) -> Mapping[str, frozenset[int]]:
        if self._revision != self.switch.revision:
            self._revision = self.switch.revision
            self._listens = {name: self.switch.wanted(name) for name in self._listens}
            self._cohort = self.switch.cohort()
        return self._listens[via]

    def _follow(self, topics: Iterable[str]) -> None:
        for topic in set(topics) - self.switch.topics:
            self.switch.follow(topic, self._numbers_of(topic))

    def _meant(self, coverage: Coverage | None) -> Coverage:
        return dict.fromkeys(self.switch.topics) if coverage is None else coverage

    @staticmethod
    def _followed(heads: Iterable[Head], partitions: Mapping[str, frozenset[int]]) -> list[Head]:
        return [
            head
            for head in heads
            if head.sequence > 0 and head.stream.partition in partitions.get(head.stream.topic, ())
        ]


def _first(item: Event | Lost) -> int:
    return item.sequence if isinstance(item, Event) else item.first


def _where(lost: Lost) -> tuple[str, int, int]:
    return "/".join(str(part) for part in lost.stream), lost.first, lost.last
