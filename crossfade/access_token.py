"""Keeps a user's access token fresh: asks for the next one before the present one expires."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from crossfade.core.keys import read_key, renewal_in_s
from crossfade.ports import Clock

__all__ = ["AccessToken", "TokenSource"]

TokenSource = Callable[[], Awaitable[str]]
"""Gives a fresh access token: from Supabase Auth, or from a back end of one's own."""

SOURCE_S = 10.0
"""Longest wait for the source."""
RETRY_S = 1.0
RETRY_MAX_S = 30.0
"""Pauses after a source that failed, doubling."""
UNKNOWN_S = 300.0
"""A token that does not say when it expires is renewed as often as this."""
SOONEST_S = 0.2
"""A source that only gives tokens that have expired is not asked more often than this."""

_log = logging.getLogger("crossfade.token")


class AccessToken:
    """An async context manager: on entry it asks once, then it renews until it is left.

    A source that fails is asked again with growing pauses; what it gave last stays in use, and
    nothing else is held up by it.

    Args:
        source: see ``TokenSource``.
        clock: tells how long the token at hand is good for.
    """

    def __init__(self, source: TokenSource, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._uses: list[Callable[[str], Awaitable[None]]] = []
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self.value = ""
        """The token in use; empty until the source gave one."""

    def use(self, take: Callable[[str], Awaitable[None]]) -> None:
        """Hand every fresh token to ``take`` from now on."""
        self._uses.append(take)

    async def __aenter__(self) -> Self:
        await self._ask()
        self._task = asyncio.create_task(self._keep(), name="access-token")
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

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._pause_s())
            if await self._ask():
                for take in self._uses:
                    try:
                        await take(self.value)
                    except Exception as error:  # noqa: BLE001 - a broken connection mends itself
                        _log.warning(
                            "a fresh token was not taken: %s", self._safe(error, self.value)
                        )

    def _pause_s(self) -> float:
        if self._failures:
            doubled: float = RETRY_S * 2 ** min(self._failures - 1, 10)
            return min(RETRY_MAX_S, doubled)
        pause_s = renewal_in_s(self.value, self._clock.now_us() / 1e6)
        return UNKNOWN_S if pause_s is None else max(SOONEST_S, pause_s)

    async def _ask(self) -> bool:
        token = ""
        try:
            async with asyncio.timeout(SOURCE_S):
                token = await self._source()
            if not isinstance(token, str) or read_key(token).kind != "jwt":
                raise ValueError("what it gave is no JSON Web Token")
        except Exception as error:  # noqa: BLE001 - the application's own code
            self._failures += 1
            if self._failures == 1:
                _log.warning(
                    "no fresh access token: %s", self._safe(error, token) or "no answer in time"
                )
            return False
        self._failures = 0
        self.value = token
        return True

    @staticmethod
    def _safe(error: Exception, token: object) -> str:
        text = str(error)
        return text.replace(token, "…") if isinstance(token, str) and token else text
