"""The drill: a small cohort rolled back and forward again in production, on purpose."""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.artifacts import keep_page
from tasks.ending import drill_once
from tasks.ending_pages import drill_page
from tasks.outcomes import drilled
from tasks.parameters import titled

__all__ = ["drill"]


@flow(name="drill", persist_result=False, validate_parameters=True)
async def drill(
    points: Annotated[float | None, titled("Percentage points", gt=0, le=100)] = None,
    scope: Annotated[list[str] | None, titled("Only these categories")] = None,
    requested_by: Annotated[str, titled("Who asks", max_length=200)] = "",
) -> State[Any]:
    """Take some percentage points back to WebSocket and forward again, and measure it.

    A later stage and the cut-over ask for a fresh one, if the plan says so. Running it again
    after an interruption goes on.

    Args:
        points: Percentage points to take back; none: the plan's own.
        scope: Only these categories of events; none: all.
        requested_by: Your name, for the audit.
    """
    record = await drill_once(points, scope or None, requested_by)
    await keep_page("drill", drill_page(record), "Rollback drill")
    return drilled(record)
