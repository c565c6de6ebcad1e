"""The tap: a firehose reader that records what each transport delivered, as it arrived.

It listens to everything on both transports, whatever the flags say, and puts no sequencer in
the way: duplicates, altered content and disorder are recorded as they came. A sequencer only
looks on, to see what the WebSocket side lost; the hub is then asked for it, as a subscriber
would. An application's own server (``legacy.listen_url``) has no fills: of it the tap records
what it got, and when it was connected.
"""

import asyncio
import itertools
import logging
import os
import socket
from collections import Counter, OrderedDict
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from crossfade.adapters.clock import SystemClock
from crossfade.adapters.process_usage import process_usage
from crossfade.adapters.recording_sqlite import Recording
from crossfade.core.codec import Codec
from crossfade.core.event import Event, Head, Position, Stream
from crossfade.core.flow import Fill
from crossfade.core.route import REALTIME, WEBSOCKET
from crossfade.core.sequencer import Sequencer
from crossfade.core.switch import Coverage
from crossfade.core.telemetry import Report, Role
from crossfade.fills import Fills
from crossfade.legacy_side import reading_codec
from crossfade.ports import Clock, FillPage, FlagSource, Reporter
from crossfade.reader_wiring import Transports, wire_control, wire_transports
from crossfade.settings import Settings
from crossfade.subscriber_counts import TransportCounts
from crossfade.subscriber_reports import send

if TYPE_CHECKING:
    from crossfade.adapters.legacy_read import LegacyReader

__all__ = ["Tap"]

_log = logging.getLogger("crossfade.tap")

STEP_S = 0.1
REPORT_S = 1.0
WAITING = 50_000
"""Deliveries that may wait for the disk; above it WebSocket is read no further (the hub's history
serves it later) and Realtime's frames are dropped once its own queue is full."""
BEYOND = 10_000
"""Recorded deliveries behind open holes that are read at the start: as many as a sequencer holds.
What is left out comes again by the fills, and is then recorded twice."""
PAIRS = 20_000
"""Events whose arrival by one transport is remembered until the other delivers them too."""

_numbers = itertools.count(1)


class Tap:
    """An async context manager, and the ``ports.Listener`` of its transports.

    Args:
        settings: ``tap.path`` is the recording.
        codec: the wire format of the application's own server at ``legacy.listen_url``; None
            takes ``legacy.codec``.
        flags: only their version is reported, and their topics are listened to.
        reporter, instance: as for ``Subscriber``.

    Raises (on entering):
        SettingsError: the codec is not there, or loses something.
        JournalTooNew, JournalUnavailable: the recording can not be written.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        codec: Codec | None = None,
        flags: FlagSource | None = None,
        reporter: Reporter | None = None,
        instance: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.instance = instance or f"tap-{socket.gethostname()}-{os.getpid()}-{next(_numbers)}"
        self._settings = settings
        self._codec = codec
        self._given_flags = flags
        self._reporter = reporter
        self._clock = clock or SystemClock()
        self._exits = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._failed: asyncio.Future[None]
        self._counts = {WEBSOCKET: TransportCounts(), REALTIME: TransportCounts()}
        self._categories: Counter[str] = Counter()
        self._topics: set[str] = set(settings.topics)
        self._covers_from: dict[str, int | None] = {WEBSOCKET: None, REALTIME: None}
        self._pairs: OrderedDict[Position, tuple[str, float | None]] = OrderedDict()
        self._catching_up: dict[Position, Event] = {}
        self._reported_ms = self._clock.monotonic_ms()
        self._flags: FlagSource
        self._recording: Recording
        self._legacy: LegacyReader | None = None
        self._sequencer: Sequencer
        self._transports: Transports
        self._fills: Fills

    @property
    def recorded(self) -> int:
        """Deliveries committed since it was opened."""
        return self._recording.recorded

    async def wait(self) -> None:
        """Return never; raises what ended one of its tasks."""
        await self._failed

    # -- the listener ------------------------------------------------------------------------------

    def events(self, via: str, events: Sequence[Event]) -> None:
        """Record what was delivered, then look at it."""
        now_us = self._clock.now_us()
        sequenced = via == WEBSOCKET and self._legacy is None
        if sequenced:
            self._sequencer.receive(events, via, self._clock.monotonic_ms())
        self._record(via, events, {event.stream for event in events} if sequenced else ())
        counts = self._counts[via]
        counts.received(len(events))
        counts.first(self._pair(via, events, now_us))

    def heads(self, via: str, heads: Sequence[Head], coverage: Coverage | None) -> None:
        """Extend the interval in which this transport is known to have been heard."""
        now_us = self._clock.now_us()
        self._counts[via].head_ms = self._clock.monotonic_ms()
        if via == WEBSOCKET:
            self._discover(head.stream.topic for head in heads)
            known = [head for head in heads if head.sequence > 0]
            self._sequencer.heads(known, self._clock.monotonic_ms())
        elif not self._hears_every_topic():
            # A channel that is not joined may miss what is sent now.
            self._covers_from[via] = None
            return
        if self._covers_from[via] is None:
            self._covers_from[via] = now_us
        self._recording.cover(via, self._covers_from[via] or now_us, now_us)

    def met(self, via: str, heads: Sequence[Head]) -> None:
        """Streams that exist; what their history brings is no measure of latency."""
        self._discover(head.stream.topic for head in heads)
        self._sequencer.meet(heads, self._clock.monotonic_ms())
        self._counts[via].replays(heads)

    def joined(self, via: str, coverage: Coverage | None) -> None:
        """A subscription stands."""
        self._counts[via].connected = True
        if via == WEBSOCKET:
            self._sequencer.settle()

    def left(self, via: str, reason: str) -> None:
        """A connection is gone; the interval ended with the last head."""
        self._counts[via].connected = False
        self._counts[via].head_ms = None
        self._covers_from[via] = None

    def failed(self, via: str, reason: str) -> None:
        """An attempt failed; the transport says so itself."""

    async def room(self) -> None:
        """Wait while the disk is too far behind."""
        while self._recording.waiting >= WAITING:  # noqa: ASYNC110 - a thread empties it
            await asyncio.sleep(self._settings.tap.commit_s)

    # -- life ------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        try:
            await self._wire()
        except BaseException:
            await self._exits.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._failed.cancel()
        try:
            if self._reporter is not None:
                await send(self._reporter, self._report())
        finally:
            await self._exits.aclose()

    async def _wire(self) -> None:
        settings = self._settings
        self._failed = asyncio.get_running_loop().create_future()
        codec = reading_codec(settings.legacy, self._codec)
        recording = self._recording = Recording(settings.tap.path, settings.tap.commit_s)
        await asyncio.to_thread(recording.__enter__)
        self._exits.push_async_callback(asyncio.to_thread, recording.close)
        if codec is None:
            positions = await asyncio.to_thread(recording.positions)
        else:
            positions = await asyncio.to_thread(recording.ends)
        self._sequencer = self._make_sequencer(positions)
        if codec is None:
            # Holes that were open when the last tap ended are open again.
            beyond = await asyncio.to_thread(recording.beyond, BEYOND)
            self._sequencer.receive(beyond, WEBSOCKET, self._clock.monotonic_ms())
        if codec is not None:
            from crossfade.adapters.legacy_read import LegacyReader

            self._legacy = LegacyReader(
                settings.legacy,
                codec,
                self,
                journal=settings.journal.path,
                positions=positions,
                deaf_s=settings.subscriber.deaf_s,
                retry_initial_s=settings.subscriber.retry_initial_s,
                retry_max_s=settings.subscriber.retry_max_s,
            )
        self._flags, self._reporter = await wire_control(
            self._exits, settings, self._given_flags, self._reporter
        )
        self._transports = await wire_transports(
            self._exits,
            settings,
            self,
            role="tap",
            instance=self.instance,
            positions=self._sequencer.positions,
            legacy=self._legacy,
        )
        sources = {"hub": self._transports.websocket}
        self._fills = Fills(sources, self._filled, self._fill_failed, self._clock)
        self._exits.push_async_callback(self._fills.close)
        self._transports.websocket.want(None)
        self._want_realtime()
        self._own(self._tick(), "tick")
        if self._reporter is not None:
            self._own(self._report_every_second(self._reporter), "telemetry")
        _log.info("tap records %s into %s", settings.websocket.url, settings.tap.path)

    @staticmethod
    def _make_sequencer(positions: Mapping[Stream, int]) -> Sequencer:
        return Sequencer(transports=(WEBSOCKET,), sources=("hub",), positions=positions)

    def _own(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=f"tap-{name}")
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) and not self._failed.done():
            self._failed.set_exception(error)

    async def _tick(self) -> None:
        while True:
            for fill in self._sequencer.tick(self._clock.monotonic_ms()):
                self._fills.start(fill)
            self._discover(self._flags.flags.topics)
            await asyncio.sleep(STEP_S)

    # -- what was lost on WebSocket --------------------------------------------------------------

    def _filled(self, fill: Fill, page: FillPage) -> None:
        """Record of a page what had not been delivered yet."""
        known = self._sequencer.positions()
        fresh = [event for event in page.events if event.sequence >= known[fill.stream]]
        self._catching_up |= {event.position: event for event in fresh}
        facts = self._sequencer.filled(
            fill, page.events, page.floor, page.head, self._clock.monotonic_ms()
        )
        mended = [
            fact
            for fact in facts
            if isinstance(fact, Event) and self._catching_up.pop(fact.position, None) is fact
        ]
        # What was given up counts as done too, or it would be asked for at every start.
        self._record(WEBSOCKET, mended, (fill.stream,))
        self._counts[WEBSOCKET].received(len(mended))

    def _fill_failed(self, fill: Fill) -> None:
        self._sequencer.fill_failed(fill, self._clock.monotonic_ms())

    def _record(self, via: str, events: Sequence[Event], moved: Iterable[Stream]) -> None:
        """Record deliveries together with how far the streams that they may have moved stand."""
        positions = self._sequencer.positions(moved)
        self._recording.record(via, events, self._clock.now_us(), positions)

    # -- topics, pairs, telemetry ----------------------------------------------------------------

    def _discover(self, topics: Iterable[str]) -> None:
        unknown = set(topics) - self._topics
        if unknown:
            self._topics |= unknown
            self._want_realtime()

    def _want_realtime(self) -> None:
        if self._transports.realtime is not None:
            self._transports.realtime.want(self._topics)

    def _hears_every_topic(self) -> bool:
        realtime = self._transports.realtime
        return realtime is not None and realtime.joined >= self._topics

    def _pair(self, via: str, events: Sequence[Event], now_us: int) -> list[Event]:
        """Latencies of events that both transports delivered live; returns those that came first.

        A latency counts only where both sides have one, so that the two are of the same events.
        """
        fresh: list[Event] = []
        pairs, counts = self._pairs, self._counts
        for event in events:
            position = event.position
            latency: float | None = None
            if event.committed_us and not counts[via].is_replay(event):
                latency = (now_us - event.committed_us) / 1_000
            before = pairs.get(position)
            if before is None:
                fresh.append(event)
                self._categories[event.category] += 1
                pairs[position] = (via, latency)
                if len(pairs) > PAIRS:
                    pairs.popitem(last=False)
            elif before[0] != via:
                if latency is not None and before[1] is not None:
                    counts[via].observe(latency)
                    counts[before[0]].observe(before[1])
                pairs[position] = (via, None)
        return fresh

    async def _report_every_second(self, reporter: Reporter) -> None:
        while True:
            await asyncio.sleep(REPORT_S)
            await send(reporter, self._report())

    def _report(self) -> Report:
        now_ms = self._clock.monotonic_ms()
        interval_ms = float(now_ms - self._reported_ms)
        self._reported_ms = now_ms
        categories, self._categories = self._categories, Counter()
        for via, connections in self._transports.connections().items():
            self._counts[via].connections = connections
        found = self._sequencer.continuity(now_ms).values()
        return Report(
            instance=self.instance,
            role=Role.TAP,
            at_us=self._clock.now_us(),
            interval_ms=interval_ms,
            flag_version=self._flags.flags.version,
            transports={via: counts.take(0, now_ms) for via, counts in self._counts.items()},
            categories=dict(categories),
            totals={
                "recorded": self._recording.recorded,
                "lost": sum(one.lost_events for one in found),
                "holes": sum(one.holes for one in found),
                "dropped_frames": self._transports.dropped_frames,
                "unknown_frames": 0 if self._legacy is None else self._legacy.unknown,
            },
            resources={"waiting": float(self._recording.waiting), **process_usage()},
        )
