"""The checks before a stage raises the flags."""

import asyncio
import time
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from crossfade.core.verdict import Verdict, worst
from crossfade.preflight import preflight
from tasks.control_plane import control
from tasks.settings_source import settings

__all__ = ["PATIENCE_S", "check_everything"]

PATIENCE_S = 20.0
"""An instance may be starting, a breaker may be closing: look again before the stage is held."""

_POLL_S = 1.0


@task(
    name="preflight",
    task_run_name="preflight",
    retries=2,
    retry_delay_seconds=2,
    timeout_seconds=120,
    cache_policy=NO_CACHE,
    persist_result=False,
)
async def check_everything() -> list[dict[str, Any]]:
    """The checks' measurements as JSON values, once all pass or patience is over."""
    deadline = time.monotonic() + PATIENCE_S
    async with control() as client:
        while True:
            checks = await preflight(settings(), client)
            passed = worst(one.verdict for one in checks) is Verdict.PASS
            if passed or time.monotonic() >= deadline:
                return [one.to_json() for one in checks]
            await asyncio.sleep(_POLL_S)
