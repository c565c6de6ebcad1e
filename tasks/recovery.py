"""The rollback's own work: taking back, and waiting until it has arrived."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from crossfade.core.fallback import arrival, explain
from crossfade.core.verdict import Verdict, worst
from crossfade.errors import ControlDenied, ControlUnavailable, Refused, StackError
from tasks.control_plane import actor, command, control
from tasks.control_plane import rollout as current_rollout

__all__ = [
    "ARRIVAL_TIMEOUT_S",
    "figures_of",
    "settle_rollback",
    "take_back",
    "wait_for_arrival",
]

ARRIVAL_TIMEOUT_S = 600.0
"""An instance that has not followed by then is named; the validation starts the rollback again."""

_POLL_S = 0.25
_CALL: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}


@task(
    name="take-back",
    task_run_name="take back",
    retries=10,
    retry_delay_seconds=[0.5, 1, 2, 2, 5, 5, 5, 10, 10, 10],
    retry_condition_fn=lambda _task, _run, state: isinstance(
        state.result(raise_on_failure=False), ControlUnavailable | TimeoutError
    ),
    timeout_seconds=60,
    **_CALL,
)
async def take_back(
    reason: str, scope: list[str] | None, to: float, by: str, incident: str
) -> dict[str, Any] | None:
    """Lower the flags unless that was done already.

    Returns the rollout that is now rolling back, or None when there is nothing to do. An
    ``incident`` was opened by a command that lowered the flags, so it is only looked up: one
    that was told late (Prefect was away) must not take back an attempt that came after it.
    """
    me = f"{actor()} for {by}" if by else actor()
    async with control() as client:
        rollout = await client.rollout()
        if rollout is not None and not incident and not _has_asked(await client.incidents(), me):
            rollout = await client.command("rollback", actor=me, reason=reason, scope=scope, to=to)
    if rollout is None or rollout["phase"] != "rolling_back":
        return None
    return rollout if not incident or rollout["incident_id"] == incident else None


async def settle_rollback(
    verified: Mapping[str, Any], figures: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Record that the rollback which was verified has arrived.

    Returns None once it is recorded; the rollout when it was widened meanwhile: then it is to
    be verified again.

    Raises:
        Refused: it does not roll back any more, or it is another's turn.
    """
    try:
        await command(
            "rolled_back",
            verified["stage"],
            verified["attempt"],
            figures=figures,
            since_us=verified["since_us"],
        )
    except Refused:
        now = await current_rollout()
        told = ("id", "stage", "attempt", "incident_id")
        same = now is not None and all(now[name] == verified[name] for name in told)
        if now is None or not same or now["since_us"] == verified["since_us"]:
            raise
        get_run_logger().warning("the rollback was widened: %s", now["reason"])
        return now
    return None


def _has_asked(incidents: Iterable[Mapping[str, Any]], me: str) -> bool:
    """Whether this run gave its command before it was killed and started again."""
    return any(
        one.get("opened_by") == me or any(part.get("actor") == me for part in one["changes"])
        for one in incidents
    )


@task(
    name="wait-for-arrival",
    task_run_name="wait until everybody is back",
    timeout_seconds=ARRIVAL_TIMEOUT_S + 60,
    **_CALL,
)
async def wait_for_arrival(since_us: int) -> dict[str, Any]:
    """Wait until the rollback has arrived; returns when what was true, in ms after ``since_us``.

    Raises:
        StackError: it had not after ``ARRIVAL_TIMEOUT_S``; says what is still waited for.
    """
    log = get_run_logger()
    deadline = time.monotonic() + ARRIVAL_TIMEOUT_S
    figures: dict[str, Any] = {}
    waited_for = ""
    async with control() as client:
        while True:
            try:
                status = await client.status()
            except ControlDenied:
                raise
            except ControlUnavailable as error:
                missing = str(error)
            else:
                checks = arrival(status)
                after_ms = _after_ms(since_us)
                for one in checks:
                    if one.verdict is Verdict.PASS:
                        figures.setdefault(f"{one.name}_after_ms", after_ms)
                if worst(one.verdict for one in checks) is Verdict.PASS:
                    figures["arrived_after_ms"] = after_ms
                    figures["checks"] = [one.to_json() for one in checks]
                    return figures
                missing = explain(checks)
            if missing != waited_for:
                log.info("still waiting: %s", missing)
                waited_for = missing
            if time.monotonic() >= deadline:
                raise StackError(
                    f"the rollback has not arrived after {ARRIVAL_TIMEOUT_S:g} s: {missing}"
                )
            await asyncio.sleep(_POLL_S)


def figures_of(
    arrived: Mapping[str, Any],
    result: Mapping[str, Any],
    stored: str,
    rollout: Mapping[str, Any],
) -> dict[str, Any]:
    """The figures that ``rolled_back`` records: when what was true, and what was proved."""
    websocket = result["stores"].get("websocket", {})
    return {
        **arrived,
        "verified_after_ms": _after_ms(rollout["since_us"]),
        "reconciliation": stored,
        "reconciliation_verdict": result["verdict"],
        "checked_events": result["checked_events"],
        "missing": websocket.get("missing", 0),
        "discrepancies": result["discrepancy_count"],
    }


def _after_ms(since_us: int) -> float:
    return round(time.time() * 1e3 - since_us / 1e3, 1)
