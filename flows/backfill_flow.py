"""The backfill: copies what an outage kept from Supabase, then compares."""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.artifacts import keep_page
from tasks.control_plane import store_result
from tasks.outcomes import backfilled
from tasks.pages import backfill_page, reconciliation_page
from tasks.parameters import titled
from tasks.reconciliation import compare_stores, docs_of
from tasks.repair import copy_missing

__all__ = ["backfill"]


@flow(name="backfill", persist_result=False, validate_parameters=True)
async def backfill(
    dry_run: Annotated[bool, titled("Only look")] = False,
    everything: Annotated[bool, titled("Everything in the journal")] = False,
) -> State[Any]:
    """Copy from the journal what Supabase is owed and lacks; harmless to repeat.

    Nothing is overwritten or deleted: what is held otherwise is listed for a person.

    Args:
        dry_run: Only look what would be copied.
        everything: Copy all that the journal holds, not only what is owed by the rollout.
    """
    copied = await copy_missing(dry_run, everything)
    result = await compare_stores("backfill")
    await store_result(result)
    await keep_page(
        "backfill", backfill_page(copied) + reconciliation_page(result, docs_of(result)), "Backfill"
    )
    return backfilled(copied, result)
