"""Threads of their own for reading Data Docs.

The folder may be a shared mount, and a mount may hang. What waits for it must never be one of the
threads that change flags and store commands.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import structlog

from crossfade.data_docs import page_of

__all__ = ["MAX_ASKED", "WAIT_S", "DocsThreads"]

_log = structlog.get_logger("crossfade.control")

P = ParamSpec("P")
T = TypeVar("T")

WAIT_S = 1.0
"""Longest wait for the folder; a local disk answers within a few milliseconds."""
MAX_ASKED = 32
"""Most calls that wait or run at once; one more is refused at once."""


class DocsThreads:
    """Runs blocking reads in two threads, for at most ``wait_s`` seconds each."""

    def __init__(self, wait_s: float = WAIT_S) -> None:
        self._wait_s = wait_s
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="crossfade-docs")
        self._asked: set[asyncio.Future[Any]] = set()

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The call's answer.

        Raises:
            TimeoutError: it did not answer in time, or too many are waiting already.
        """
        if len(self._asked) >= MAX_ASKED:
            raise TimeoutError("too many calls wait for the folder of the pages")
        loop = asyncio.get_running_loop()
        asked = loop.run_in_executor(self._threads, lambda: call(*args, **kwargs))
        # It is not cancelled when the time is up: a call that hangs goes on holding its thread,
        # and is counted until it ends.
        self._asked.add(asked)
        asked.add_done_callback(self._forget)
        done, _ = await asyncio.wait({asked}, timeout=self._wait_s)
        if not done:
            raise TimeoutError(f"the folder of the pages did not answer within {self._wait_s:g} s")
        return asked.result()

    async def address_of(self, docs: Path | None, at_us: object) -> str | None:
        """Where a run's pages are shown; None where none are kept, or their folder hangs."""
        try:
            return await self.run(page_of, docs, at_us)
        except TimeoutError as error:
            _log.warning("reconcile.docs does not answer", error=str(error))
            return None

    def close(self) -> None:
        """Take no more calls; one that hangs is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for one in tuple(self._asked):
            one.cancel()

    def _forget(self, asked: asyncio.Future[Any]) -> None:
        self._asked.discard(asked)
        if not asked.cancelled():
            asked.exception()  # read, so that nobody complains of one that came too late
