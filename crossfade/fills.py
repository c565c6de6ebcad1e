"""Runs the fills that a sequencer wants against their sources, each with a time-out."""

import asyncio
import logging
from collections.abc import Callable, Mapping

from crossfade.core.flow import Fill
from crossfade.errors import StoreError
from crossfade.ports import Clock, FillPage, FillSource

__all__ = ["Fills"]

_log = logging.getLogger("crossfade.fills")

TIMEOUT_S = 10.0
"""Longest wait for a page; sources have shorter ones of their own."""
REST_MS = 1_000
REST_MAX_MS = 15_000
"""After a failure a source is not asked for so long (doubling): another one may know."""


class Fills:
    """Owns one task per fill under way; their number is the sequencer's to limit.

    Args:
        sources: by name, as in the sequencer.
        filled: takes a page.
        failed: told when there is none.
    """

    def __init__(
        self,
        sources: Mapping[str, FillSource],
        filled: Callable[[Fill, FillPage], None],
        failed: Callable[[Fill], None],
        clock: Clock,
    ) -> None:
        self._sources = sources
        self._filled = filled
        self._failed = failed
        self._clock = clock
        self._rests: dict[str, tuple[int, int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, fill: Fill) -> None:
        """Start one fill."""
        task = asyncio.create_task(self._run(fill), name=f"fill-{fill.source}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End every fill under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, fill: Fill) -> None:
        name = fill.source
        failures, until_ms = self._rests.get(name, (0, 0))
        source = self._sources.get(name)
        if source is None or self._clock.monotonic_ms() < until_ms:
            self._failed(fill)
            return
        try:
            async with asyncio.timeout(TIMEOUT_S):
                page = await source.fill(fill.stream, fill.first, fill.last)
        except (StoreError, TimeoutError, OSError) as error:
            self._rest(fill, failures, str(error) or f"no answer in {TIMEOUT_S:g} s")
            return
        except Exception as error:  # noqa: BLE001 - logged; the hole stays and is asked again
            _log.exception("%s: a fill broke", name)
            self._rest(fill, failures, repr(error))
            return
        self._rests.pop(name, None)
        self._filled(fill, page)

    def _rest(self, fill: Fill, failures: int, why: str) -> None:
        if failures == 0:
            _log.warning("no fills from %s for now: %s", fill.source, why)
        pause_ms = min(REST_MAX_MS, REST_MS << min(failures, 10))
        self._rests[fill.source] = (failures + 1, self._clock.monotonic_ms() + pause_ms)
        self._failed(fill)
