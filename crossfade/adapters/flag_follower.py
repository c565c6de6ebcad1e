"""The follower of the control server's flags (docs/protocol.md, section 6)."""

import asyncio
import contextlib
import random
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from crossfade.adapters.control import ControlClient
from crossfade.adapters.known_flags import KnownFlags
from crossfade.core.flags import Flags
from crossfade.errors import ControlUnavailable, UsageError

__all__ = ["FlagFollower"]

_log = structlog.get_logger("crossfade.control")


class FlagFollower(KnownFlags):
    """Follows the control server's flags by long polls.

    An async context manager. While the server is gone the last known flags stay in force
    (at first ``initial``, or what ``cache`` holds) and it is asked again after a pause with
    full jitter, of at most ``retry_max_s``.

    Args:
        client: left open at exit; the caller closes it.
        cache: a file that keeps the last known flags.
        initial: the flags before any are known; by default nobody is in the cohort.
    """

    def __init__(
        self,
        client: ControlClient,
        *,
        cache: Path | None = None,
        initial: Flags | None = None,
        wait_s: float = 25.0,
        retry_initial_s: float = 0.2,
        retry_max_s: float = 5.0,
    ) -> None:
        super().__init__(initial or Flags(), cache)
        self._client = client
        self._wait_s = wait_s
        self._retry_initial_s = retry_initial_s
        self._retry_max_s = retry_max_s
        self._task: asyncio.Task[None] | None = None
        self.connected = False
        """Whether the last poll was answered."""

    async def __aenter__(self) -> Self:
        kept = await self._kept()
        if kept is not None and kept.version > self._flags.version:
            self._flags = kept
        self._task = asyncio.create_task(self._follow(), name="crossfade-flags")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._close()

    async def _follow(self) -> None:
        failures = 0
        # The first poll asks for whatever is in force, so that flags from a cache are checked.
        after, wait_s = self._flags.version, 0.0
        while True:
            try:
                flags = await self._client.flags(after, wait_s)
            except (ControlUnavailable, UsageError) as error:
                self.connected = False
                if failures == 0:
                    _log.warning(
                        "flags can not be read; the last known stay in force",
                        error=str(error),
                        version=self._flags.version,
                    )
                ceiling = min(self._retry_max_s, self._retry_initial_s * 2 ** min(failures, 16))
                failures += 1
                await asyncio.sleep(random.uniform(0.0, ceiling))  # noqa: S311 - jitter
                continue
            if failures:
                _log.info("flags are followed again", version=flags.version)
            self.connected, failures = True, 0
            if flags.version > self._flags.version:
                await self._take(flags)
            elif wait_s:
                # A server that answers long polls at once must not be asked in a tight loop.
                await asyncio.sleep(random.uniform(0.0, self._retry_initial_s))  # noqa: S311
            after, wait_s = self._flags.version, self._wait_s
