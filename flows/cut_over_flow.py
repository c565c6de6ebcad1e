"""The cut-over: Realtime becomes primary, and WebSocket runs on in reverse."""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.artifacts import keep_page
from tasks.ending import end
from tasks.ending_pages import ending_page
from tasks.outcomes import ended
from tasks.parameters import titled

__all__ = ["cut_over"]


@flow(name="cut-over", persist_result=False, validate_parameters=True)
async def cut_over(
    confirm: Annotated[str, titled("Name of the rollout", max_length=200)] = "",
    dry_run: Annotated[bool, titled("Dry run")] = True,
    requested_by: Annotated[str, titled("Who asks", max_length=200)] = "",
) -> State[Any]:
    """Make Realtime primary for everything. It can be taken back until the decommission.

    Args:
        confirm: To do it, type the rollout's name.
        dry_run: Only say what would be changed, or why it can not be.
        requested_by: Your name, for the audit.
    """
    found = await end("cut_over", confirm, dry_run, requested_by)
    await keep_page("cut-over", ending_page("cut-over", found, dry_run), "Cut-over")
    return ended(found, dry_run)
