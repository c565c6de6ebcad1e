"""The subscriber: events of any number of streams, each in order and once, over both transports.

::

    async with Subscriber(keys=["N711MQ"], positions=Path("seen.json")) as subscriber:
        async for event in subscriber:
            await handle(event)

It follows the flags from one transport to the other without a gap, falls back to WebSocket by
itself when Realtime is deaf or gone, and works with Supabase, Prefect and the control server
all dead.
"""

import asyncio
import itertools
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from crossfade.access_token import TokenSource
from crossfade.adapters.clock import SystemClock
from crossfade.core.continuity import Continuity, Lost
from crossfade.core.event import Event, Stream
from crossfade.core.route import REALTIME, WEBSOCKET
from crossfade.core.routing import partition_of
from crossfade.core.sequencer import Sequencer, Start
from crossfade.core.switch import Switch
from crossfade.errors import Closed
from crossfade.feed import Feed
from crossfade.fills import Fills
from crossfade.ports import Clock, FillSource, FlagSource, Reporter
from crossfade.reader_wiring import (
    Transports,
    pace_of,
    wire_control,
    wire_store,
    wire_token,
    wire_transports,
)
from crossfade.settings import Settings, load_settings
from crossfade.subscriber_reports import SubscriberReports

if TYPE_CHECKING:
    from crossfade.adapters.positions import PositionFile

__all__ = ["Subscriber"]

_log = logging.getLogger("crossfade.subscriber")

STEP_S = 0.05
SAVE_S = 0.2
"""Positions are written at most so often; after a crash the events since are handed over again."""
_YIELD_EVERY = 256

_numbers = itertools.count(1)


class Subscriber:
    """An async context manager and an async iterator; belongs to one event loop.

    The position of an event moves when the next one is asked for, when the callback of
    ``run`` has returned, or by ``commit``: never before its effect. A consumer that raises
    has not handled its event: after a restart it gets it again.

    Args:
        settings: None reads ``crossfade.toml`` in the current folder and the environment.
        topics: follow these only; None follows every topic there is.
        keys: follow only the partitions of these keys, and hand over only events with one
            of these subjects. Continuity is still proven per partition.
        start: where a stream without a position begins, ``earliest`` (all that any store
            still holds) or ``latest``.
        positions: a file that keeps them (see ``adapters.positions``; then ``start`` holds
            only for its first use), or the positions themselves: per stream the sequence
            needed next.
        on_lost: called in order with each range that no store holds any more.
        flags: who is served by Realtime; None follows the control server if the settings
            hold an instance token, else nobody is.
        reporter: takes the telemetry; None as for ``flags``.
        store: where fills come from besides the hub; None takes the project in the
            settings, if one is set.
        access_token: gives a fresh token of the user this subscriber acts for; asked on entry
            and before each expiry. None uses ``supabase.access_token`` as long as it is good.
        instance: this subscriber's name in telemetry; default: host, pid, a number.

    Raises:
        SettingsError: the settings do not validate.
        UsageError: on entry, when the positions can not be read.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        topics: Iterable[str] | None = None,
        keys: Iterable[str] | None = None,
        start: Start = "earliest",
        positions: Path | Mapping[Stream, int] | None = None,
        on_lost: Callable[[Lost], None] | None = None,
        flags: FlagSource | None = None,
        reporter: Reporter | None = None,
        store: FillSource | None = None,
        access_token: TokenSource | None = None,
        instance: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._settings = load_settings(None, os.environ) if settings is None else settings
        self.instance = instance or f"{socket.gethostname()}-{os.getpid()}-{next(_numbers)}"
        self._topics = None if topics is None else tuple(topics)
        self._keys = None if keys is None else frozenset(keys)
        self._start: Start = start
        self._given = positions
        self._on_lost = on_lost
        self._flags = flags
        self._reporter = reporter
        self._store = store
        self._access_token = access_token
        self._clock = clock or SystemClock()
        self._exits = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._current: Event | Lost | None = None
        self._failure: BaseException | None = None
        self._open = False
        self._closed = False
        self._dirty = asyncio.Event()
        self._taken = 0
        self._file: PositionFile | None = None
        self._feed: Feed
        self._reports: SubscriberReports | None = None

    # -- events ------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        if not self._open and not self._closed:
            raise Closed("the subscriber is not open: use `async with`")
        self._acknowledge()
        self._taken += 1
        if self._taken % _YIELD_EVERY == 0:
            await asyncio.sleep(0)  # a consumer that never waits must not starve the transports
        while self._open:
            if self._failure is not None:
                raise self._failure
            item = self._feed.take()
            if isinstance(item, Event):
                self._current = item
                return item
            if item is not None:
                self._take_lost(item)
                continue
            self._feed.ready.clear()
            await self._feed.ready.wait()
        raise StopAsyncIteration

    async def run(self, handle: Callable[[Event], Awaitable[None] | None]) -> None:
        """Call ``handle`` (plain or async) with each event, one after the other, until closed.

        What it raises ends this call; the event at hand counts as not handled.
        """
        async for event in self:
            result = handle(event)
            if result is not None:
                await result

    async def commit(self) -> None:
        """The event at hand has been handled: move its position, and save now."""
        self._acknowledge()
        await self._save()

    # -- what it knows -----------------------------------------------------------------------

    def positions(self) -> dict[Stream, int]:
        """Per stream the sequence that is needed next, behind what was handled."""
        pending = self._feed.pending()
        if isinstance(self._current, Event):
            pending[self._current.stream] = self._current.sequence
        elif self._current is not None:
            pending[self._current.stream] = self._current.first
        return {**self._feed.sequencer.positions(), **pending}

    def continuity(self) -> dict[str, Continuity]:
        """The proof of what was delivered, per source."""
        return self._feed.sequencer.continuity(self._clock.monotonic_ms())

    def serving(self) -> dict[str, dict[str, list[int]]]:
        """Which partitions each transport serves: ``{transport: {topic: [numbers]}}``."""
        return {
            via: {topic: sorted(some) for topic, some in self._feed.switch.serving(via).items()}
            for via in (WEBSOCKET, REALTIME)
        }

    @property
    def flag_version(self) -> int:
        """The highest version of flags whose switches are done or have visibly failed."""
        return self._feed.switch.applied

    @property
    def switch_failures(self) -> int:
        """Partitions that flags would serve by the other transport, and it did not work."""
        return self._feed.switch.failures

    @property
    def fallen_back(self) -> int:
        """Partitions on WebSocket only because Realtime is deaf or gone."""
        return self._feed.switch.fallen_back

    # -- life ----------------------------------------------------------------------------------

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
        await self.close()

    async def close(self) -> None:
        """Stop; what was handed over and handled is saved, the event at hand is not."""
        if not self._open:
            return
        self._open = False
        self._closed = True
        self._feed.ready.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self._exits.aclose()
        finally:
            await self._save()

    async def _wire(self) -> None:
        positions = await self._load()
        self._flags, self._reporter = await wire_control(
            self._exits, self._settings, self._flags, self._reporter
        )
        settings, token = await wire_token(
            self._exits, self._settings, self._access_token, self._clock
        )
        store = await wire_store(self._exits, settings, self._store, token)
        feed = self._feed = self._make_feed(positions, has_store=store is not None)
        if positions:
            feed.settle()
        feed.flags(self._flags.flags)
        transports = await wire_transports(
            self._exits,
            settings,
            feed,
            role="subscriber",
            instance=self.instance,
            positions=feed.sequencer.positions,
            token=token,
        )
        sources: dict[str, FillSource] = {"hub": transports.websocket}
        if store is not None:
            sources["supabase"] = store
        fills = Fills(sources, feed.filled, feed.fill_failed, self._clock)
        self._exits.push_async_callback(fills.close)
        if self._reporter is not None:
            self._reports = SubscriberReports(
                self._reporter, feed, transports, instance=self.instance, clock=self._clock
            )
            self._reports.start()
            self._exits.push_async_callback(self._reports.close)
        self._open = True
        self._own(self._follow_flags(self._flags), "flags")
        self._own(self._tick(transports, fills), "tick")
        if self._file is not None:
            self._own(self._keep_positions(), "positions")

    def _make_feed(self, positions: Mapping[Stream, int] | None, *, has_store: bool) -> Feed:
        section = self._settings.subscriber
        sequencer = Sequencer(
            sources=("hub", "supabase") if has_store else ("hub",),
            start=self._start,
            positions=positions,
            buffer_events=section.buffer_events,
            hole_grace_ms=section.hole_grace_ms,
        )
        return Feed(
            sequencer,
            Switch(pace_of(section)),
            topics=self._settings.topics if self._topics is None else self._topics,
            discover=self._topics is None,
            numbers_of=self._numbers_of,
            subjects=self._keys,
            queue_events=section.queue_events,
            clock=self._clock,
        )

    def _numbers_of(self, topic: str) -> frozenset[int]:
        partitions = self._settings.rollout.partitions
        if self._keys is None:
            return frozenset(range(partitions))
        return frozenset(partition_of(topic, key, partitions) for key in self._keys)

    # -- tasks -----------------------------------------------------------------------------------

    def _own(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=f"subscriber-{name}")
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error
            self._feed.ready.set()

    async def _follow_flags(self, source: FlagSource) -> None:
        with suppress(Closed):
            while True:
                self._feed.flags(await source.newer(self._feed.switch.version))

    async def _tick(self, transports: Transports, fills: Fills) -> None:
        feed, switch = self._feed, self._feed.switch
        revision, applied = -1, switch.applied
        while True:
            for fill in feed.step():
                fills.start(fill)
            if revision != switch.revision:
                revision = switch.revision
                websocket = switch.wanted(WEBSOCKET)
                # Everything, as long as it is: topics that nobody has heard of come as well.
                everything = self._topics is None and self._keys is None
                everything = everything and websocket == switch.followed()
                transports.want(None if everything else websocket, switch.wanted(REALTIME))
            if applied != switch.applied:
                applied = switch.applied
                if self._reports is not None:
                    self._reports.soon()
            await asyncio.sleep(STEP_S)

    # -- positions -------------------------------------------------------------------------------

    def _acknowledge(self) -> None:
        if self._current is not None:
            self._current = None
            self._dirty.set()

    def _take_lost(self, lost: Lost) -> None:
        self._current = lost
        if self._on_lost is not None:
            self._on_lost(lost)
        self._acknowledge()

    async def _load(self) -> Mapping[Stream, int] | None:
        if not isinstance(self._given, Path):
            return self._given
        from crossfade.adapters.positions import PositionFile

        self._file = PositionFile(self._given)
        return await self._file.load()

    async def _keep_positions(self) -> None:
        while True:
            await self._dirty.wait()
            await self._save()
            await asyncio.sleep(SAVE_S)

    async def _save(self) -> None:
        if self._file is None:
            return
        self._dirty.clear()
        try:
            await self._file.save(self.positions())
        except OSError as error:
            # What is handled is handled; a restart would begin a little earlier.
            _log.error("%s: positions were not saved: %s", self._file.path, error)
            self._dirty.set()
