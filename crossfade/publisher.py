"""The publisher inside an application: durable first, then the legacy side, then Supabase.

::

    async with Publisher() as publisher:
        event = await publisher.publish("flight.departed", {"to": "ORD"}, key="N711MQ")

``publish`` returns once the event is committed to the journal. From there on relays carry it,
each with a cursor and a breaker of its own: to the hub, to the application's own ``send`` if
there is one, and to Supabase for the partitions that the flags name. ``publish`` waits for
none of them, nor for Prefect or the control server.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from crossfade.adapters.clock import SystemClock
from crossfade.adapters.journal_sqlite import Journal
from crossfade.breaker_modes import BreakerModes
from crossfade.core.breaker import BreakerState
from crossfade.core.classification import Classifier, Rule
from crossfade.core.codec import Codec
from crossfade.core.event import Draft, Event
from crossfade.core.flags import Flags
from crossfade.drafting import Drafter
from crossfade.errors import Closed, InvalidEvent
from crossfade.legacy_side import FrameSend, legacy_side
from crossfade.ports import Clock, EventStore, FlagSource, IngestResult, LegacySend, Reporter
from crossfade.publisher_reports import PublisherReports
from crossfade.relay import Relay
from crossfade.relay_pace import Pace, quota_of
from crossfade.relay_policy import breaker_policy
from crossfade.settings import Settings, load_settings
from crossfade.unparking import Unparking

__all__ = ["Publisher"]

_log = logging.getLogger("crossfade.publisher")

SINKS = ("application", "websocket", "supabase")
"""Where events go: the application's own send, the hub (or the application's own server), the
Supabase project.
"""


class Publisher:
    """An async context manager; belongs to one event loop.

    Args:
        settings: None reads ``crossfade.toml`` in the current folder and the environment.
        legacy: the application's own ``send(events)`` coroutine function, which gets every
            event in commit order beside the hub of ``settings.websocket.url`` (after a crash
            the last quarter of a second may come again); or the URL of another hub. An empty
            URL means that there is no hub.
        codec: the application's own wire format (``core.codec``). With it ``legacy`` is a
            ``send(frames)``, or the URL of the application's own server, which takes the
            hub's place.
        store: the Supabase side; None takes the project in the settings, if one is set.
        flags: who is in the cohort; None follows the control server if the settings hold an
            instance token, else nobody is.
        reporter: takes the telemetry; None as for ``flags``.
        instance: this publisher's name in telemetry; default: source, host and pid.

    Raises:
        SettingsError: here or on entry, when the settings do not fit together.
        JournalTooNew, JournalLocked, JournalUnavailable: on entry.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        legacy: LegacySend | FrameSend | str | None = None,
        codec: Codec | None = None,
        store: EventStore | None = None,
        flags: FlagSource | None = None,
        reporter: Reporter | None = None,
        clock: Clock | None = None,
        instance: str | None = None,
    ) -> None:
        self._settings = load_settings(None, os.environ) if settings is None else settings
        self._clock = clock or SystemClock()
        source = self._settings.publisher.source
        self.instance = instance or f"{source}-{socket.gethostname()}-{os.getpid()}"
        self._legacy = legacy_side(self._settings, legacy, codec)
        self._store = store
        self._flags_given = flags
        self._reporter = reporter
        self._drafter = _drafter(self._settings, self._clock)
        self._exits = AsyncExitStack()
        self._flags: FlagSource
        self._journal: Journal
        self._relays: dict[str, Relay] = {}
        self._open = False
        self._reports: PublisherReports | None = None

    # -- publishing ----------------------------------------------------------------------

    async def publish(
        self,
        type: str,  # noqa: A002 - CloudEvents' own word
        data: Any,
        *,
        key: str = "",
        time: datetime | str | None = None,
        id: str | None = None,  # noqa: A002 - CloudEvents' own word
    ) -> Event:
        """Publish one event; returns once it is durable.

        Publishing an ``id`` again answers the event that is already there, so a caller that
        got no answer can simply repeat the call.

        Args:
            type: what happened, such as ``flight.departed``.
            data: any JSON value, at most ``publisher.max_event_bytes`` as canonical JSON.
            key: events of one key keep their order (they share a partition).
            time: when it happened (with a zone; text is RFC 3339); default: now.
            id: unique for ever; default: a new UUIDv7.

        Raises:
            InvalidEvent: names the field at fault; nothing was journaled.
            JournalUnavailable: it is not known whether the event is durable. Repeat with the
                same ``id``.
            Closed: the publisher is not open.
        """
        draft = self._drafter.draft(type, data, key=key, time=time, id=id)
        (event,) = await self._append([draft])
        return event

    async def publish_many(self, events: Iterable[Mapping[str, Any]]) -> list[Event]:
        """Publish several; returns once all are durable.

        Args:
            events: mappings with ``type`` and ``data`` and, if wished, ``key``, ``time`` and
                ``id``. All are checked before any is journaled; runs of up to
                ``journal.group_events`` are committed all or none.

        Raises:
            InvalidEvent, JournalUnavailable, Closed: as ``publish``; the message of
                InvalidEvent begins with the event's number, counted from 1.
        """
        drafts = []
        for number, fields in enumerate(events, 1):
            try:
                drafts.append(self._drafter.draft_from(fields))
            except InvalidEvent as error:
                raise InvalidEvent(f"event {number}: {error}") from error
        size = self._settings.journal.group_events
        runs = [drafts[start : start + size] for start in range(0, len(drafts), size)]
        return [event for run in runs for event in await self._append(run)]

    async def _append(self, drafts: Sequence[Draft]) -> list[Event]:
        if not self._open:
            raise Closed("the publisher is not open")
        found = await self._journal.append(drafts)
        if self._reports is not None:
            self._reports.count(found)
        return found

    # -- what it knows -------------------------------------------------------------------

    @property
    def flags(self) -> Flags:
        """The routing flags in force."""
        return self._flags.flags

    @property
    def classified(self) -> dict[str, int]:
        """Per rule of the classification, how many events it has decided; ``default`` too."""
        return dict(self._drafter.rules)

    @property
    def owed(self) -> dict[str, int]:
        """Per sink, how many committed events it was not given yet."""
        sinks = SINKS if self._legacy.send is not None else SINKS[1:]
        return {sink: self._journal.outbox(sink).owed for sink in sinks}

    @property
    def breakers(self) -> dict[str, BreakerState]:
        """Per sink, the state of its breaker."""
        return {sink: relay.breaker for sink, relay in self._relays.items()}

    def set_breaker(self, sink: str, mode: BreakerState, reason: str) -> None:
        """Set a sink's breaker by hand: FORCED_OPEN, DISABLED, METRICS_ONLY, or CLOSED.

        Raises:
            KeyError: no such sink.
            ValueError: a state that cannot be set by hand.
        """
        self._relays[sink].set_mode(mode, reason)

    # -- life ----------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        try:
            await self._start()
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

    async def close(self) -> dict[str, int]:
        """Take no more events, wait up to ``publisher.drain_s`` for the sinks, end.

        Answers per sink what is still owed (also logged): it stays in the journal, and the
        next publisher on it goes on from there.
        """
        if not self._open:
            return {}
        self._open = False
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.publisher.drain_s):
                    await asyncio.gather(*(relay.drained() for relay in self._relays.values()))
            owed = {sink: count for sink, count in self.owed.items() if count}
            if owed:
                _log.warning(
                    "closed with events owed, which stay in %s: %s",
                    self._journal.path,
                    ", ".join(f"{count} to {sink}" for sink, count in owed.items()),
                )
        finally:
            await self._exits.aclose()
        return owed

    async def _start(self) -> None:
        settings = self._settings
        await self._wire_control()
        has_hub, has_send = self._legacy.has_websocket, self._legacy.send is not None
        self._journal = await self._exits.enter_async_context(
            Journal(
                settings.journal,
                source=settings.publisher.source,
                routing={
                    # Once WebSocket is switched off, nothing more is owed to the legacy side;
                    # what was owed before is still sent.
                    "application": lambda _topic, _partition: has_send and self._has_legacy,
                    "websocket": lambda _topic, _partition: has_hub and self._has_legacy,
                    # Asked by the journal's thread; the flags are replaced, never changed.
                    "supabase": lambda topic, partition: self._flags.flags.writes(topic, partition),
                },
                clock=self._clock,
            )
        )
        await self._wire_legacy()
        await self._wire_store()
        for relay in self._relays.values():
            relay.start()
            self._exits.push_async_callback(relay.close)
        await self._exits.enter_async_context(BreakerModes(self._flags, self._relays))
        await self._exits.enter_async_context(Unparking(self._journal.path, self._relays))
        if self._reporter is not None:
            self._reports = PublisherReports(
                self._reporter,
                instance=self.instance,
                journal=self._journal,
                relays=self._relays,
                flags=self._flags,
                partitions=settings.rollout.partitions,
                clock=self._clock,
            )
            self._reports.start()
            self._exits.push_async_callback(self._reports.close)
        self._open = True

    @property
    def _has_legacy(self) -> bool:
        return not self._flags.flags.decommissioned

    async def _wire_control(self) -> None:
        flags = self._flags_given
        settings = self._settings
        if settings.control.instance_token.get_secret_value() and (
            flags is None or self._reporter is None
        ):
            from crossfade.adapters.control import ControlClient
            from crossfade.adapters.flag_follower import FlagFollower

            client = await self._exits.enter_async_context(ControlClient(settings.control))
            if self._reporter is None:
                self._reporter = client
            if flags is None:
                path = settings.journal.path
                flags = await self._exits.enter_async_context(
                    FlagFollower(
                        client,
                        cache=path.with_name(path.name + ".flags"),
                        initial=_nobody(settings),
                    )
                )
        if flags is None:
            from crossfade.adapters.memory import StaticFlags

            flags = StaticFlags(_nobody(settings))
        self._flags = flags

    async def _wire_legacy(self) -> None:
        side = self._legacy
        if side.send is not None:
            self._add_relay("application", _without_result(side.send))
        if side.server is not None and side.codec is not None:
            from crossfade.adapters.legacy_send import LegacySender

            sender = LegacySender(side.server, side.codec)
            self._add_relay("websocket", _without_result(sender.send))
            await self._exits.enter_async_context(sender)
        if not side.hub_url:
            return
        from crossfade.adapters.hub_link import HubLink

        link = HubLink(
            self._settings.websocket,
            self._journal,
            instance=self.instance,
            url=side.hub_url,
            on_connected=lambda: self._relays["websocket"].hint(),
        )
        self._add_relay("websocket", _without_result(link.send))
        await self._exits.enter_async_context(link)

    async def _wire_store(self) -> None:
        store = self._store
        if store is None and self._settings.supabase.url:
            from crossfade.adapters.supabase import SupabaseEventStore

            store = await self._exits.enter_async_context(
                SupabaseEventStore.for_publisher(self._settings)
            )
        if store is not None:
            relay = self._settings.relay
            pace = Pace(
                relay,
                quota_of(relay, len(self._settings.topics)),
                self._clock.monotonic_ms(),
            )
            self._add_relay(
                "supabase", store.ingest, heads=store.heads, gather_s=relay.poll_s, pace=pace
            )

    def _add_relay(
        self,
        sink: str,
        deliver: Callable[[Sequence[Event]], Awaitable[IngestResult | None]],
        **options: Any,
    ) -> None:
        settings = self._settings
        self._relays[sink] = Relay(
            self._journal,
            sink,
            deliver,
            settings=settings.relay,
            policy=breaker_policy(settings.breaker, settings.relay.timeout_s),
            clock=self._clock,
            on_change=lambda _: self._reports.soon() if self._reports is not None else None,
            **options,
        )


def _drafter(settings: Settings, clock: Clock) -> Drafter:
    chosen = settings.classification
    classifier = Classifier(
        [Rule(**rule.model_dump()) for rule in chosen.rules],
        categories=chosen.categories,
        heuristics=chosen.heuristics,
        default=chosen.default,
    )
    return Drafter(
        classifier,
        partitions=settings.rollout.partitions,
        max_event_bytes=settings.publisher.max_event_bytes,
        now_us=clock.now_us,
    )


def _nobody(settings: Settings) -> Flags:
    return Flags(
        salt=settings.rollout.salt, partitions=settings.rollout.partitions, topics=settings.topics
    )


def _without_result(send: LegacySend) -> Callable[[Sequence[Event]], Awaitable[None]]:
    async def deliver(events: Sequence[Event]) -> None:
        await send(events)

    return deliver
