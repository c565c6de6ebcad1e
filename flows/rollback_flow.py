"""The rollback: started by a breach, by a request, or by a person, and never in the way.

The control server lowers the flags before this run exists. The run cancels the week,
waits until everybody is back on WebSocket, proves that nothing is missing there, and
records it. It needs the control server, the journal and the tap's recording, not Supabase.
"""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from crossfade.core.rollout.commands import MAX_TEXT
from tasks.artifacts import keep_page
from tasks.control_plane import store_result
from tasks.incident import bundle_place, incident_page
from tasks.outcomes import rolled_back
from tasks.pages import reconciliation_page, rollback_page
from tasks.parameters import titled
from tasks.reconciliation import LEGACY_STORES, compare_stores
from tasks.recovery import figures_of, settle_rollback, take_back, wait_for_arrival
from tasks.runs import cancel_weeks

__all__ = ["rollback"]

REASON = "requested in Prefect"


@flow(name="rollback", persist_result=False, validate_parameters=True)
async def rollback(
    reason: Annotated[str, titled("Reason", min_length=1, max_length=MAX_TEXT)] = REASON,
    scope: Annotated[list[str] | None, titled("Only these categories")] = None,
    to: Annotated[float, titled("Percent that stays on Realtime", ge=0, lt=100)] = 0.0,
    requested_by: Annotated[str, titled("Who asks", max_length=200)] = "",
    incident: Annotated[str, titled("Incident", max_length=100)] = "",
) -> State[Any]:
    """Take subscribers back to WebSocket and prove that they lost nothing.

    Starts by itself on a breach. On demand: give a reason, press **Run**.

    Args:
        reason: Why; kept with the incident.
        scope: Take back only these categories of events; none: everything.
        to: The share in percent that Realtime goes on serving; 0: nobody.
        requested_by: Your name, for the audit.
        incident: Filled in when a breach starts this run; leave it empty.
    """
    rollout = await take_back(reason, scope or None, to, requested_by, incident)
    if rollout is None:
        return Completed(message="nothing to take back: it is not rolling back (any more)")
    await cancel_weeks(f"rolled back: {rollout['reason']}")
    while True:
        arrived = await wait_for_arrival(rollout["since_us"])
        result = await compare_stores("rollback", LEGACY_STORES)
        stored = await store_result(result)
        figures = figures_of(arrived, result, stored, rollout)
        figures["bundle"] = bundle_place(rollout["incident_id"])
        widened = await settle_rollback(rollout, figures)
        if widened is None:
            break
        rollout = widened
    page = rollback_page(figures, rollout["reason"]) + reconciliation_page(result)
    await keep_page("rollback", page, "Rollback")
    await keep_page("incident", await incident_page(rollout["incident_id"]), "Incident")
    return rolled_back(figures)
