"""The scheduled report: the success metrics of the rollout against their targets."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.artifacts import keep_page
from tasks.outcomes import reported
from tasks.success import success_page

__all__ = ["report"]


@flow(name="report", persist_result=False, validate_parameters=True)
async def report() -> State[Any]:
    """Put the success metrics of every week beside their targets."""
    page = await success_page()
    await keep_page("success-metrics", page, "Success metrics against their targets")
    return reported(page)
