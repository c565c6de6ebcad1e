"""The scheduled validation: compare the stores, tell the control server, keep things going."""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.control_plane import rollout, store_result
from tasks.findings import chart_findings, keep_findings
from tasks.outcomes import validated
from tasks.parameters import titled
from tasks.reconciliation import compare_stores
from tasks.runs import end_stale_forms, keep_going
from tasks.validation import report_breach

__all__ = ["validate"]


@flow(name="validate", persist_result=False, validate_parameters=True)
async def validate(
    full: Annotated[bool, titled("Sealed blocks as well")] = False,
    content: Annotated[bool, titled("Hash all content anew")] = False,
) -> State[Any]:
    """Reconcile journal, WebSocket and Supabase, and judge the result by the suites.

    A FAIL while a stage is under way is a breach: the control server lowers the flags at
    once, and the rollback starts by itself.

    Args:
        full: Compare sealed blocks as well: every event that the stores hold.
        content: Hash everything anew in every store, trusting no seal and no column. Slow; shared
            out among the workers of `prefect.runner`.
    """
    result = await compare_stores("validate", full=full, content=content)
    # A breach first: no page and no chart may keep the flags up.
    stored = await store_result(result)
    active = await rollout()
    await report_breach(result, stored, active)
    await end_stale_forms(active)
    kept_going = await keep_going(active)
    await keep_findings(result, "Validation")
    await chart_findings()
    return validated(result, kept_going)
