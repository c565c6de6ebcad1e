"""Copying from the journal what Supabase lacks."""

import asyncio
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from crossfade.backfill import backfill
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
async def copy_missing(dry_run: bool, everything: bool) -> dict[str, Any]:
    """One backfill's result as JSON values (``crossfade.backfill.Backfill``)."""
    found = await asyncio.to_thread(backfill, settings(), dry_run=dry_run, everything=everything)
    get_run_logger().info(
        "%s events checked, %s lacking, %s copied, %s left to a person",
        f"{found.checked_events:,}",
        f"{found.lacking:,}",
        f"{found.inserted:,}",
        f"{found.parked_count:,}",
    )
    return found.to_json()
