"""The repair: mends what the last reconciliation found, and compares again."""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks.artifacts import keep_page
from tasks.control_plane import store_result
from tasks.outcomes import backfilled
from tasks.pages import backfill_page, reconciliation_page
from tasks.parameters import titled
from tasks.reconciliation import compare_stores, docs_of
from tasks.repair import copy_missing, last_findings

__all__ = ["repair"]


@flow(name="repair", persist_result=False, validate_parameters=True)
async def repair(dry_run: Annotated[bool, titled("Dry run")] = True) -> State[Any]:
    """Copy to Supabase what the last reconciliation found missing there, and compare again.

    Nothing is overwritten or deleted: what the stores hold otherwise is listed for a person.

    Args:
        dry_run: Only look what would be copied.
    """
    found = await last_findings()
    if not found.count:
        return Completed(message="the last reconciliation found nothing to repair")
    copied = await copy_missing(dry_run, False, found.streams)
    result = await compare_stores("repair")
    await store_result(result)
    page = backfill_page(copied, f"Repair of what reconciliation {found.hash[:12]} found")
    await keep_page("repair", page + reconciliation_page(result, docs_of(result)), "Repair")
    return backfilled(copied, result)
