"""Other flow runs: replacing, cancelling and starting them through Prefect's own client."""

from typing import Any
from uuid import UUID

from prefect import get_client, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelled, Cancelling, Completed

from tasks.approval import FormKey

__all__ = [
    "ROLLBACK_FLOW",
    "WEEK_FLOW",
    "cancel_weeks",
    "end_stale_forms",
    "keep_going",
    "supersede",
]

WEEK_FLOW = "rollout-week"
ROLLBACK_FLOW = "rollback"

_UNDER_WAY = [
    StateType.SCHEDULED,
    StateType.PENDING,
    StateType.RUNNING,
    StateType.PAUSED,
]
_IN_STAGE = frozenset(
    {"ready", "preflight", "ramping", "soaking", "reconciling", "awaiting_approval"}
)
_CALL: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": [1, 2, 5],
    "timeout_seconds": 60,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}


@task(name="supersede", task_run_name="take over from earlier runs", **_CALL)
async def supersede(stage: int) -> list[str]:
    """Cancel the runs of the same week that were there before this one; returns their names.

    One run drives a week: the newest. It goes on from the rollout's row, so nothing is lost
    with the others, and nobody finds two forms for one approval.
    """
    own = UUID(flow_run.id) if flow_run.id else None
    async with get_client() as client:
        runs = await _runs(client, WEEK_FLOW, _UNDER_WAY)
        mine = next((run for run in runs if run.id == own), None)
        earlier = [
            run
            for run in runs
            if run.id != own
            and run.parameters.get("stage", 0) == stage
            and (
                mine is None
                or run.created is None
                or mine.created is None
                or run.created <= mine.created
            )
        ]
        return await _cancel(client, earlier, f"run {flow_run.name} took the week over")


@task(name="cancel-weeks", task_run_name="cancel the weeks under way", **_CALL)
async def cancel_weeks(reason: str) -> list[str]:
    """Cancel every running or waiting week, whose form then goes away; returns their names."""
    async with get_client() as client:
        runs = await _runs(client, WEEK_FLOW, _UNDER_WAY)
        return await _cancel(client, runs, reason)


@task(name="end-stale-forms", task_run_name="end forms that were answered elsewhere", **_CALL)
async def end_stale_forms(rollout: dict[str, Any] | None) -> list[str]:
    """End waiting weeks whose approval was given, or became void, at the control server.

    A person may decide by the command line; the form in Prefect would go on waiting for an
    answer that nobody needs. Returns the names of the runs that were ended.
    """
    async with get_client() as client:
        runs = await _runs(client, WEEK_FLOW, [StateType.PAUSED])
        stale = [run for run in runs if not _is_awaited(run, rollout)]
        for run in stale:
            stage = int(run.parameters.get("stage", 0))
            approved = rollout is not None and _is_approved(stage, rollout)
            state: State[Any] = (
                Completed(message="approved at the control server")
                if approved
                else Cancelled(message="the stage does not wait for this approval any more")
            )
            await client.set_flow_run_state(run.id, state)
    return [run.name for run in stale]


def _is_awaited(run: FlowRun, rollout: dict[str, Any] | None) -> bool:
    if rollout is None or rollout["phase"] != "awaiting_approval":
        return False
    key = run.state.state_details.pause_key if run.state else None
    form = FormKey.parse(key or "")
    stage = int(run.parameters.get("stage", 0))
    # A pause that is not ours is a person's: leave it alone.
    return form is None or (stage, form.attempt) == (rollout["stage"], rollout["attempt"])


def _is_approved(stage: int, rollout: dict[str, Any]) -> bool:
    return any(one["stage"] == stage for one in rollout["approvals"])


@task(name="keep-going", task_run_name="look for runs that crashed", **_CALL)
async def keep_going(rollout: dict[str, Any] | None) -> str:
    """Start again what crashed: the rollback if one is due, else the week of the stage.

    A run that a person cancelled, or that ended with a reason, is left alone. Returns the
    name of the run that was started, or "".
    """
    if rollout is None:
        return ""
    phase, stage = str(rollout["phase"]), int(rollout["stage"])
    async with get_client() as client:
        if phase == "rolling_back":
            runs = await _latest(client, ROLLBACK_FLOW)
            if runs and not _is_final(runs[0]):
                return ""
            # What is to be verified stands in the rollout's row.
            parameters = {"incident": rollout["incident_id"], "reason": rollout["reason"]}
            deployment = await _deployment_of(client, ROLLBACK_FLOW)
            return await _start(client, deployment, parameters)
        if phase not in _IN_STAGE:
            return ""
        weeks = await _latest(client, WEEK_FLOW)
        runs = [run for run in weeks if run.parameters.get("stage", 0) == stage]
        last = runs[0] if runs else None
        if last is None or last.deployment_id is None or not _is_crashed(last):
            return ""
        return await _start(client, last.deployment_id, last.parameters)


async def _deployment_of(client: PrefectClient, flow: str) -> UUID:
    found = await client.read_deployments(
        flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])), limit=1
    )
    return found[0].id


async def _start(client: PrefectClient, deployment: UUID, parameters: dict[str, Any]) -> str:
    started = await client.create_flow_run_from_deployment(deployment, parameters=parameters)
    get_run_logger().warning("a run had crashed; %s goes on in its place", started.name)
    return started.name


async def _runs(client: PrefectClient, flow: str, states: list[StateType]) -> list[FlowRun]:
    return await client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states))
        ),
        limit=200,
    )


async def _latest(client: PrefectClient, flow: str) -> list[FlowRun]:
    return await client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=20,
    )


async def _cancel(client: PrefectClient, runs: list[FlowRun], reason: str) -> list[str]:
    for run in runs:
        # A waiting run has no process: Prefect makes it cancelled at once.
        await client.set_flow_run_state(run.id, Cancelling(message=reason))
    return [run.name for run in runs]


def _is_crashed(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_crashed()


def _is_final(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_final()
