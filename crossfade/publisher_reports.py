"""A publisher's telemetry: one report about every second, and at once when a breaker moves.

Whatever fails here disturbs nothing: what could not be reported is counted into the next one.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress

from crossfade.adapters.process_usage import process_usage
from crossfade.core.event import Event
from crossfade.core.telemetry import Report, Role
from crossfade.errors import CrossfadeError
from crossfade.ports import Clock, FlagSource, Journal, Reporter
from crossfade.relay import Relay

__all__ = ["PublisherReports"]

_log = logging.getLogger("crossfade.publisher")

REPORT_S = 1.0
REPORT_TIMEOUT_S = 5.0


class PublisherReports:
    """Owns one task between ``start`` and ``close``.

    Args:
        relays: by sink; read at each report.
        partitions: what the publisher's keys are spread over; flags that speak of another
            number are told in the log, since cohorts would not mean what they say.
    """

    def __init__(
        self,
        reporter: Reporter,
        *,
        instance: str,
        journal: Journal,
        relays: Mapping[str, Relay],
        flags: FlagSource,
        partitions: int,
        clock: Clock,
    ) -> None:
        self._reporter = reporter
        self._instance = instance
        self._journal = journal
        self._relays = relays
        self._flags = flags
        self._partitions = partitions
        self._clock = clock
        self._events_before = journal.events
        self._categories: Counter[str] = Counter()
        self._reported_ms = clock.monotonic_ms()
        self._soon = asyncio.Event()
        self._warned = -1
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Report from now on."""
        self._task = asyncio.create_task(self._run(), name="publisher-telemetry")

    async def close(self) -> None:
        """Send a last report and end."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
            await self._report()

    def count(self, events: Iterable[Event]) -> None:
        """Count published events by category."""
        self._categories.update(event.category for event in events)

    def soon(self) -> None:
        """Something happened that should not wait for the next second."""
        self._soon.set()

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(REPORT_S):
                    await self._soon.wait()
            self._soon.clear()
            self._check_flags()
            await self._report()

    async def _report(self) -> None:
        now_ms = self._clock.monotonic_ms()
        windows = {sink: relay.window() for sink, relay in self._relays.items()}
        categories, self._categories = self._categories, Counter()
        report = Report(
            instance=self._instance,
            role=Role.PUBLISHER,
            at_us=self._clock.now_us(),
            interval_ms=float(now_ms - self._reported_ms),
            flag_version=self._flags.flags.version,
            sinks=windows,
            categories=dict(categories),
            totals={
                "published": self._journal.events - self._events_before,
                "conflicts": sum(relay.conflicts for relay in self._relays.values()),
                "parked": sum(self._journal.parked(sink) for sink in self._relays),
            },
            resources={"journal_queue": float(self._journal.queued), **process_usage()},
        )
        try:
            async with asyncio.timeout(REPORT_TIMEOUT_S):
                await self._reporter.report(report)
        except (CrossfadeError, TimeoutError, OSError) as error:
            _log.debug("telemetry was not delivered: %s", error)
        except Exception:  # noqa: BLE001 - logged; a reporter's fault must disturb nothing
            _log.exception("the reporter broke")
        else:
            self._reported_ms = now_ms
            return
        for sink, window in windows.items():
            self._relays[sink].put_back(window)
        self._categories += categories

    def _check_flags(self) -> None:
        flags = self._flags.flags
        if flags.partitions != self._partitions and flags.version != self._warned:
            self._warned = flags.version
            _log.error(
                "flags of version %d are for %d partitions, this publisher has %d "
                "(rollout.partitions): cohorts will not have the size they should",
                flags.version,
                flags.partitions,
                self._partitions,
            )
