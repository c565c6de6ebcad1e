"""A publisher's breakers follow the modes that an operator set, with the flags."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

from crossfade.core.breaker import BreakerState
from crossfade.errors import Closed
from crossfade.ports import FlagSource
from crossfade.relay import Relay

__all__ = ["BreakerModes"]

_log = logging.getLogger("crossfade.publisher")


class BreakerModes:
    """An async context manager that owns one task.

    A mode that the application set itself (``Publisher.set_breaker``) stays as long as the flags
    say nothing of that sink.
    """

    def __init__(self, flags: FlagSource, relays: Mapping[str, Relay]) -> None:
        self._flags = flags
        self._relays = relays
        self._set: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._apply()
        self._task = asyncio.create_task(self._run(), name="breaker-modes")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        version = self._flags.flags.version
        with suppress(Closed):
            while True:
                version = (await self._flags.newer(version)).version
                self._apply()

    def _apply(self) -> None:
        flags = self._flags.flags
        wanted = {sink: mode for sink, mode in flags.breakers.items() if sink in self._relays}
        for sink in {*wanted, *self._set}:
            mode = wanted.get(sink, BreakerState.CLOSED.value)
            if mode == self._set.get(sink):
                continue
            try:
                self._relays[sink].set_mode(
                    BreakerState(mode), f"by an operator (flags of version {flags.version})"
                )
            except ValueError as error:
                _log.error("%s: flags of version %d: %s", sink, flags.version, error)
        self._set = wanted
