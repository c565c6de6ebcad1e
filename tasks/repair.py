"""Copying from the journal what Supabase lacks."""

import asyncio
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.settings_source import settings

__all__ = ["copy_missing"]


@task(
    name="copy-missing",
    task_run_name="copy what is missing",
    retries=3,
    retry_delay_seconds=[5, 15, 60],
    timeout_seconds=24 * 3_600,
    cache_policy=NO_CACHE,
    persist_result=False,
)
async def copy_missing() -> dict[str, Any]:
    """How many events were looked at, copied, and skipped because they were there."""
    from crossfade.backfill import backfill

    return dict((await asyncio.to_thread(backfill, settings())).to_json())
