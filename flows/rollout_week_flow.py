"""A rollout week: from its preflight to a person's approval.

The flow decides nothing and remembers nothing. It asks the control server what comes next
(docs/protocol.md, section 6), does it, and asks again; so a run that was killed, suspended
or started twice goes on from the rollout's row.
"""

from typing import Annotated, Any, assert_never

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger

from crossfade.core.rollout.decide import Action
from crossfade.errors import Refused
from tasks.approval import ask, settle
from tasks.artifacts import keep_page
from tasks.control_plane import command, next_step, pause, store_result
from tasks.findings import keep_findings
from tasks.outcomes import finished, stopped
from tasks.pages import checks_page, stage_name
from tasks.parameters import titled
from tasks.preflight import check_everything
from tasks.reconciliation import compare_stores, preload
from tasks.runs import end_stale_forms, supersede

__all__ = ["rollout_week"]


@flow(name="rollout-week", persist_result=False, validate_parameters=True)
async def rollout_week(stage: Annotated[int, titled("Stage", ge=0)] = 0) -> State[Any]:
    """Drive one stage of the active rollout: preflight, ramp, soak, gate, approval.

    Start it when the week before was approved. It waits in the state **Suspended** for the
    approval: press **Resume**, read the evidence, decide. Starting it again is harmless.

    Args:
        stage: Which stage of the plan, counted from 0: week-1 is stage 0.
    """
    log = get_run_logger()
    await supersede(stage)
    attempt: int | None = None
    said, note, taken = "", "", 0
    step = await next_step(stage, attempt)
    await end_stale_forms(step.rollout)
    while True:
        attempt = step.attempt if step.stage == stage else attempt
        if step.reason != said:
            log.info("%s: %s", step.action, step.reason)
            said = step.reason
        try:
            match step.action:
                case Action.BEGIN:
                    await command("begin", stage, attempt)
                case Action.PREFLIGHT:
                    checks = await check_everything()
                    page = checks_page(checks, stage_name(step))
                    await keep_page("preflight", page, "Preflight")
                    await command("preflight", stage, attempt, checks=checks)
                case Action.APPLY:
                    await command("applied", stage, attempt)
                    preload()
                case Action.WAIT:
                    await pause(step.wait_s)
                case Action.SOAKED:
                    await command("soaked", stage, attempt)
                case Action.RECONCILE:
                    result = await compare_stores(
                        "week", measurements=step.evidence.get("measurements")
                    )
                    stored = await store_result(result)
                    rollout = await command("reconciled", stage, attempt, reconciliation=stored)
                    await keep_findings(result, "Gate")
                    if rollout["phase"] == "reconciling":
                        await pause(step.wait_s)
                case Action.ASK_APPROVAL:
                    answer = await ask(step, note, taken)
                    note, taken = await settle(step, answer), answer.shown.number
                case Action.FINISHED:
                    return finished(step)
                case Action.STOPPED:
                    return stopped(step)
                case _:
                    assert_never(step.action)
        except Refused as error:
            # The rollout moved between the question and the command: ask again.
            log.warning("%s", error)
            await pause(step.wait_s)
        step = await next_step(stage, attempt)
