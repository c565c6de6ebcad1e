"""A subscriber's telemetry: one report about every second, and at once when a switch is done."""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from crossfade.adapters.process_usage import process_usage
from crossfade.core.route import REALTIME, WEBSOCKET
from crossfade.core.telemetry import Report, Role, to_bits
from crossfade.errors import CrossfadeError
from crossfade.feed import Feed
from crossfade.ports import Clock, Reporter
from crossfade.reader_wiring import Transports

__all__ = ["SubscriberReports", "send"]

_log = logging.getLogger("crossfade.subscriber")

REPORT_S = 1.0
REPORT_TIMEOUT_S = 5.0
MOST_TOPICS = 200
"""With more topics a report does not tell its partitions one by one."""


class SubscriberReports:
    """Owns one task between ``start`` and ``close``; whatever fails here disturbs nothing."""

    def __init__(
        self,
        reporter: Reporter,
        feed: Feed,
        transports: Transports,
        *,
        instance: str,
        clock: Clock,
    ) -> None:
        self._reporter = reporter
        self._feed = feed
        self._transports = transports
        self._instance = instance
        self._clock = clock
        self._reported_ms = clock.monotonic_ms()
        self._soon = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Report from now on."""
        self._task = asyncio.create_task(self._run(), name="subscriber-telemetry")

    def soon(self) -> None:
        """Something happened that should not wait for the next second."""
        self._soon.set()

    async def close(self) -> None:
        """Send a last report and end."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
            await send(self._reporter, self._report())

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(REPORT_S):
                    await self._soon.wait()
            self._soon.clear()
            await send(self._reporter, self._report())

    def _report(self) -> Report:
        feed, switch = self._feed, self._feed.switch
        now_ms = self._clock.monotonic_ms()
        interval_ms = float(now_ms - self._reported_ms)
        self._reported_ms = now_ms
        categories, feed.categories = feed.categories, Counter()
        found = feed.sequencer.continuity(now_ms).values()
        for via, connections in self._transports.connections().items():
            feed.counts[via].connections = connections
        return Report(
            instance=self._instance,
            role=Role.SUBSCRIBER,
            at_us=self._clock.now_us(),
            interval_ms=interval_ms,
            flag_version=switch.applied,
            transports={
                via: replace(
                    feed.counts[via].take(
                        sum(map(len, switch.serving(via).values())),
                        now_ms,
                        sum(one.duplicates.get(via, 0) for one in found),
                    ),
                    serving=_bits(switch.serving(via)),
                )
                for via in (WEBSOCKET, REALTIME)
            },
            categories=dict(categories),
            totals={
                "delivered": sum(one.delivered for one in found),
                "lost": sum(one.lost_events for one in found),
                "conflicts": sum(one.conflicts for one in found),
                "holes": sum(one.holes for one in found),
                "filled": sum(
                    one.delivered_by.get(source, 0)
                    for one in found
                    for source in ("hub", "supabase")
                ),
                "altered": feed.altered,
                "dropped_frames": self._transports.dropped_frames,
                "switch_failed": switch.failures,
                "fallen_back": switch.fallen_back,
            },
            resources={
                "queue": float(len(feed.queue)),
                "buffered": float(feed.sequencer.buffered),
                **process_usage(),
            },
        )


def _bits(serving: Mapping[str, frozenset[int]]) -> dict[str, str]:
    """Exactly what is listened to, unless that is too much to tell every second."""
    if len(serving) > MOST_TOPICS:
        return {}
    return {topic: to_bits(numbers) for topic, numbers in serving.items()}


async def send(reporter: Reporter, report: Report) -> None:
    """Send a report; what can not be delivered is told in the log and forgotten."""
    try:
        async with asyncio.timeout(REPORT_TIMEOUT_S):
            await reporter.report(report)
    except (CrossfadeError, TimeoutError, OSError) as error:
        _log.debug("telemetry was not delivered: %s", error)
    except Exception:  # noqa: BLE001 - logged; a reporter's fault must disturb nothing
        _log.exception("the reporter broke")
