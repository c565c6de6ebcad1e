"""Copying from the journal what Supabase lacks: everything owed, or what a comparison named."""

import asyncio
from collections.abc import Collection
from typing import Any, NamedTuple

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from crossfade.backfill import backfill
from crossfade.core.event import Position, Stream
from crossfade.core.verdict import Verdict
from tasks.control_plane import control
from tasks.settings_source import settings

__all__ = ["Findings", "copy_missing", "last_findings"]

_RECONCILIATIONS = 100
_CONCLUSIVE = (Verdict.PASS, Verdict.FAIL)
_CALL: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": [5, 15, 60],
    "cache_policy": NO_CACHE,
    "persist_result": False,
}


class Findings(NamedTuple):
    """What a stored reconciliation says is wrong.

    ``hash`` names it ("" when there is none); ``count`` are its discrepancies; ``streams``
    hold them, None when it counted more than it names: then any stream may.
    """

    hash: str
    count: int
    streams: frozenset[Stream] | None


@task(name="last-findings", task_run_name="read what was found", timeout_seconds=60, **_CALL)
async def last_findings() -> Findings:
    """What the last reconciliation that passed or failed found."""
    async with control() as client:
        results = await client.reconciliations(_RECONCILIATIONS)
    for one in results:
        if one["verdict"] in _CONCLUSIVE:
            named, count = one["discrepancies"], int(one["discrepancy_count"])
            streams = frozenset(Position.parse(each["position"]).stream for each in named)
            return Findings(str(one["hash"]), count, streams if count == len(named) else None)
    return Findings("", 0, frozenset())


@task(
    name="copy-missing",
    task_run_name="copy what is missing",
    timeout_seconds=24 * 3_600,
    **_CALL,
)
async def copy_missing(
    dry_run: bool, everything: bool, streams: Collection[Stream] | None = None
) -> dict[str, Any]:
    """One backfill's result as JSON values (``crossfade.backfill.Backfill``)."""
    found = await asyncio.to_thread(
        backfill, settings(), dry_run=dry_run, everything=everything, streams=streams
    )
    get_run_logger().info(
        "%s events checked, %s lacking, %s copied, %s left to a person",
        f"{found.checked_events:,}",
        f"{found.lacking:,}",
        f"{found.inserted:,}",
        f"{found.parked_count:,}",
    )
    return found.to_json()
