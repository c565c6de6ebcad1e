"""A reconciliation's result as it stays with the run: a page, a link to its Data Docs, a chart."""

import asyncio
import base64
from typing import Any

from prefect import task
from prefect.artifacts import (
    acreate_image_artifact,
    acreate_link_artifact,
    acreate_markdown_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from crossfade.core.reconciliation_trend import reconciliation_trends
from crossfade.core.trend import chart
from tasks.control_plane import control
from tasks.pages import reconciliation_page
from tasks.reconciliation import docs_of

__all__ = ["CHART_RUNS", "CHART_S", "chart_findings", "keep_findings"]

CHART_RUNS = 40
"""Reconciliations that the chart goes back."""
CHART_S = 20.0
"""Longest time for it, below the task's own time-out, which would fail the run."""


@task(
    name="findings",
    task_run_name="keep what the stores hold",
    retries=2,
    retry_delay_seconds=2,
    timeout_seconds=30,
    cache_policy=NO_CACHE,
    persist_result=False,
)
async def keep_findings(result: dict[str, Any], title: str) -> None:
    """Keep a result's tables under ``reconciliation``, and ``data-docs``, a link to its pages."""
    docs = docs_of(result)
    if docs:
        await acreate_link_artifact(
            link=docs,
            link_text="Great Expectations' pages of the suites",
            key="data-docs",
            description=f"{title}: {result['verdict']}. The page asks for a token.",
        )
    await acreate_markdown_artifact(
        markdown=reconciliation_page(result, docs), key="reconciliation", description=title
    )


@task(
    name="findings-chart",
    task_run_name="draw the last reconciliations",
    timeout_seconds=30,
    cache_policy=NO_CACHE,
    persist_result=False,
)
async def chart_findings() -> None:
    """Keep a chart of the last reconciliations that are stored; nothing depends on it."""
    try:
        async with asyncio.timeout(CHART_S), control() as client:
            stored = await client.reconciliations(CHART_RUNS)
            found = reconciliation_trends(stored)
            picture = chart(found, f"The last {len(stored)} reconciliations")
            await acreate_image_artifact(
                image_url=f"data:image/svg+xml;base64,{base64.b64encode(picture.encode()).decode()}",
                key="reconciliation-chart",
                description="What differed, what could not be told, what was compared, the time",
            )
    except Exception as error:  # noqa: BLE001
        # Whatever it is, of the control server, of a stored document or of Prefect's API: a
        # validation that is done does not fail for its picture.
        get_run_logger().warning(
            "no chart of the reconciliations: %s: %s", type(error).__name__, error
        )
