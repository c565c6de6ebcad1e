"""The control server: decisions, commands, and what it is told."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.tasks import exponential_backoff

from crossfade.adapters.control import ControlClient, Role
from crossfade.core.rollout.commands import DECISIONS
from crossfade.core.rollout.decide import Action
from crossfade.errors import ControlDenied, ControlUnavailable, UsageError, VersionConflict
from tasks.settings_source import settings

__all__ = ["Step", "actor", "command", "control", "next_step", "pause", "rollout", "store_result"]

PATIENCE_S = 900.0
"""How long a run waits for a control server that does not answer before it gives up."""

_RETRY_S = (0.5, 1.0, 2.0, 5.0, 10.0)
_SHORTEST_WAIT_S = 0.2
_LONGEST_WAIT_S = 60.0


class Step(NamedTuple):
    """What the control server says a week should do next (docs/protocol.md, section 6)."""

    action: Action
    reason: str
    wait_s: float
    rollout: dict[str, Any]
    evidence: dict[str, Any]

    @property
    def stage(self) -> int:
        return int(self.rollout["stage"])

    @property
    def attempt(self) -> int:
        return int(self.rollout["attempt"])


@asynccontextmanager
async def control(role: Role = "operator") -> AsyncIterator[ControlClient]:
    """A client with the token of that role."""
    async with ControlClient(settings().control, role) as client:
        yield client


def actor() -> str:
    """Who gives this run's commands; its prefix tells the server that a flow run does."""
    return f"flow-run:{flow_run.name or 'local'}"


async def next_step(stage: int, attempt: int | None) -> Step:
    """Ask what to do next; waits for a control server that is away.

    Not a task: it is asked every few seconds for as long as a soak lasts, and a task run
    each would bury what a person looks for.

    Raises:
        ControlUnavailable: no answer for ``PATIENCE_S``.
        UsageError: there is no rollout, the token is refused, or the server is newer than we.
    """
    since = time.monotonic()
    failures = 0
    async with control() as client:
        while True:
            try:
                found = await client.decision(stage, attempt)
            except ControlDenied:
                raise
            except ControlUnavailable as error:
                if time.monotonic() - since >= PATIENCE_S:
                    raise
                if failures == 0:
                    get_run_logger().warning("%s; the run waits for it", error)
                await asyncio.sleep(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
                failures += 1
                continue
            return Step(
                action=_action(found["action"]),
                reason=str(found.get("reason") or ""),
                wait_s=float(found.get("wait_s") or 0.0),
                rollout=dict(found.get("rollout") or {}),
                evidence=dict(found.get("evidence") or {}),
            )


def _action(name: str) -> Action:
    try:
        return Action(name)
    except ValueError:
        raise UsageError(
            f"the control server says {name!r}, which this version of Crossfade does not know: "
            "install the server's version where the flows run"
        ) from None


async def pause(wait_s: float) -> None:
    """Wait as long as the decision said, within sane bounds."""
    await asyncio.sleep(min(max(wait_s, _SHORTEST_WAIT_S), _LONGEST_WAIT_S))


def _worth_a_retry(_task: Any, _run: Any, state: Any) -> bool:
    """Only an unreachable server, or a rollout that kept moving: a refusal stays a refusal."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, ControlUnavailable | VersionConflict | TimeoutError) and not (
        isinstance(error, ControlDenied)
    )


_CALL: dict[str, Any] = {
    "retries": 8,
    "retry_delay_seconds": exponential_backoff(0.5),
    "retry_condition_fn": _worth_a_retry,
    "timeout_seconds": 60,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}


@task(name="command", task_run_name="command {verb}", **_CALL)
async def command(
    verb: str,
    stage: int | None = None,
    attempt: int | None = None,
    by: str = "",
    **fields: Any,
) -> dict[str, Any]:
    """Give one command to the rollout and return the rollout after it.

    Every command names its stage and attempt, so that giving it again is harmless. A person's
    decision goes with the approver's token, if these settings have one.

    Raises:
        Refused: the rollout does not allow it now.
        ControlDenied: the token is not enough for it.
    """
    async with control("approver" if verb in DECISIONS else "operator") as client:
        return await client.command(
            verb, actor=by or actor(), stage=stage, attempt=attempt, **fields
        )


@task(name="rollout", task_run_name="read the rollout", **_CALL)
async def rollout() -> dict[str, Any] | None:
    """The active rollout, or the last one, or None."""
    async with control() as client:
        return await client.rollout()


@task(name="store-result", task_run_name="store the reconciliation", **_CALL)
async def store_result(result: dict[str, Any]) -> str:
    """Store a reconciliation's result at the control server and return its hash."""
    async with control() as client:
        return await client.reconciliation(result)
