"""The cohort driven by a team's own flag system, through its OpenFeature client.

The team's flags say *how much*: percentages, by category. *Which* partitions those are is
decided here, by the pinned hash of ``core.routing``: an upgrade of the flag system, or of its
bucketing, moves nobody. Needs the extra ``crossfade[openfeature]``.
"""

import asyncio
import contextlib
import logging
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent

from crossfade.adapters.known_flags import KnownFlags
from crossfade.core.flags import Flags

__all__ = ["FlagKeys", "OpenFeatureFlags"]

_log = logging.getLogger("crossfade.openfeature")

EVALUATE_S = 5.0
"""Longest wait for the team's flag system; after it the last known flags stay in force."""


class FlagKeys(NamedTuple):
    """The keys of the team's flags; each is evaluated with the category as the targeting key and
    as the attribute ``category``, but for ``kill`` and ``version``.

    ``served`` and ``written`` are floats, percentages from 0 to 100; ``kill`` is a boolean;
    ``version`` an integer that rises with every change, so that all instances name it alike
    ("" where the team has none: each instance then counts by the second of the change).
    """

    served: str = "crossfade-served"
    written: str = "crossfade-written"
    kill: str = "crossfade-kill"
    version: str = ""


class _Unanswered(Exception):
    """A flag could not be evaluated, or makes no sense."""


class OpenFeatureFlags(KnownFlags):
    """The flags as a team's own flag system has them; an async context manager.

    A flag that can not be evaluated changes nothing: the last known flags stay in force, all
    of them, at first ``initial`` or what ``cache`` holds.

    Args:
        client: of the team; its provider is initialised and shut down by the team.
        initial: gives salt, partitions and topics, and what holds before the first answer.
        keys: what the flags are called.
        cache: a file that keeps the last known flags for a start without the flag system.
        poll_s: the flags are asked for again so often, and at once when the provider says
            that its configuration changed.
    """

    def __init__(
        self,
        client: OpenFeatureClient,
        initial: Flags,
        *,
        keys: FlagKeys | None = None,
        cache: Path | None = None,
        poll_s: float = 5.0,
    ) -> None:
        super().__init__(initial, cache)
        self._client = client
        self._keys = keys or FlagKeys()
        self._poll_s = poll_s
        self._nudge = asyncio.Event()
        self._failing = False
        self._loop: asyncio.AbstractEventLoop
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        kept = await self._kept()
        if kept is not None:
            self._restore(kept)
        self._client.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, self._told)
        self._client.add_handler(ProviderEvent.PROVIDER_READY, self._told)
        await self._ask()
        self._task = asyncio.create_task(self._follow(), name="openfeature-flags")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.remove_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, self._told)
        self._client.remove_handler(ProviderEvent.PROVIDER_READY, self._told)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._close()

    def _told(self, details: EventDetails) -> None:
        # Called in whatever thread the provider has.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._nudge.set)

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await self._nudge.wait()
            self._nudge.clear()
            await self._ask()

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(EVALUATE_S):
                # Providers may block, and are made for use from threads.
                found = await asyncio.to_thread(self._evaluate, self._flags)
        except Exception as error:  # noqa: BLE001 - another's code; nothing may follow from it
            if not self._failing:
                why = str(error) or f"no answer within {EVALUATE_S:g} s"
                _log.warning("flags can not be read; the last known stay in force: %s", why)
            self._failing = True
            return
        self._failing = False
        if found == self._flags:
            return
        _log.info("flags of version %d", found.version)
        await self._take(found)

    def _evaluate(self, known: Flags) -> Flags:
        keys = self._keys
        categories = sorted(set(known.topics.values()))
        served = {one: self._percent(keys.served, one) for one in categories}
        written = {one: self._percent(keys.written, one) for one in categories}
        kill = _answered(self._client.get_boolean_details(keys.kill, known.kill))
        found = replace(known, served=served, written=written, kill=bool(kill))
        if keys.version:
            version = int(_answered(self._client.get_integer_details(keys.version, 0)))
            if version < known.version:
                raise _Unanswered(f"{keys.version} is {version}, after {known.version}")
            if version == known.version and found != known:
                raise _Unanswered(f"{keys.version} is still {version}, with other flags")
            return replace(found, version=version)
        if found == known:
            return known
        return replace(found, version=max(known.version + 1, int(time.time())))

    def _percent(self, key: str, category: str) -> float:
        context = EvaluationContext(targeting_key=category, attributes={"category": category})
        value = float(_answered(self._client.get_float_details(key, 0.0, context)))
        if not 0.0 <= value <= 100.0:
            raise _Unanswered(f"{key} is {value:g} for {category}: must be from 0 to 100")
        return value

    def _restore(self, kept: Flags) -> None:
        now = self._flags
        if (kept.salt, kept.partitions) != (now.salt, now.partitions):
            _log.warning("%s: kept flags are for another salt or number of partitions", self._cache)
            return
        # Topics are the settings'; percentages and the version are what was last known.
        self._flags = replace(kept, topics=now.topics)


def _answered(details: Any) -> Any:
    """The value; an error is an error and not the default."""
    if details.error_code is not None:
        why = details.error_message or details.error_code.value
        raise _Unanswered(f"{details.flag_key}: {why}")
    return details.value
