"""What the demo sees: the control server's status, polled, and when each thing was first seen.

Only public figures: whoever wants to check the demo's measurements can poll the same calls.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from crossfade.adapters.control import ControlClient
from crossfade.errors import ControlUnavailable, CrossfadeError

__all__ = ["DemoFailed", "Observer", "Status"]

_POLL_S = 0.2

Status = dict[str, Any]


class DemoFailed(CrossfadeError):
    """The demo can not go on, or did not show what it set out to show."""


class Observer:
    """Polls the status five times a second; an async context manager.

    Args:
        client: of the control server, with the operator's token.
        on_status: called with each status, on the event loop.
    """

    def __init__(self, client: ControlClient, on_status: Callable[[Status], None]) -> None:
        self._client = client
        self._on_status = on_status
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self.status: Status = {}
        self.seen_at = 0.0
        """Monotonic seconds just before the status was asked for."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._poll())
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

    async def until(
        self, condition: Callable[[Status], bool], what: str, timeout_s: float
    ) -> float:
        """Wait for a status that fulfils ``condition``; returns when it was seen (monotonic s).

        Raises:
            DemoFailed: not within ``timeout_s``; says what was waited for.
        """

        def holds() -> bool:
            return bool(self.status) and condition(self.status)

        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(holds)
                return time.monotonic()
        except TimeoutError:
            raise DemoFailed(f"{what}: not within {timeout_s:g} s") from None

    async def _poll(self) -> None:
        while True:
            asked = time.monotonic()
            try:
                status = await self._client.status()
            except ControlUnavailable:
                # The control server is local; whether it lives is the supervisor's business.
                await asyncio.sleep(_POLL_S)
                continue
            async with self._changed:
                self.status, self.seen_at = status, asked
                self._changed.notify_all()
            self._on_status(status)
            await asyncio.sleep(max(0.0, _POLL_S - (time.monotonic() - asked)))
