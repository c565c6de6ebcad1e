"""The decommission: WebSocket is switched off, and nothing goes back."""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.artifacts import keep_page
from tasks.ending import end
from tasks.ending_pages import ending_page
from tasks.outcomes import ended
from tasks.parameters import titled

__all__ = ["decommission"]


@flow(name="decommission", persist_result=False, validate_parameters=True)
async def decommission(
    confirm: Annotated[str, titled("Name of the rollout", max_length=200)] = "",
    dry_run: Annotated[bool, titled("Dry run")] = True,
    requested_by: Annotated[str, titled("Who asks", max_length=200)] = "",
) -> State[Any]:
    """Switch WebSocket off: the recorded point of no return.

    Args:
        confirm: To do it, type the rollout's name.
        dry_run: Only say what would be changed, or why it can not be.
        requested_by: Your name, for the audit.
    """
    found = await end("decommission", confirm, dry_run, requested_by)
    await keep_page("decommission", ending_page("decommission", found, dry_run), "Decommission")
    return ended(found, dry_run)
