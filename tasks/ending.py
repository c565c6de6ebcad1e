"""Drill, cut-over and decommission: one call each."""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from crossfade.drill import DRILL_TIMEOUT_S, run_drill
from crossfade.errors import ControlDenied, ControlUnavailable, UsageError
from tasks.control_plane import actor, control

__all__ = ["drill_once", "end"]

_CALL: dict[str, Any] = {
    "retries": 5,
    "retry_delay_seconds": [1, 2, 5, 5, 10],
    "retry_condition_fn": lambda _task, _run, state: _is_away(state),
    "cache_policy": NO_CACHE,
    "persist_result": False,
}


def _is_away(state: Any) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, ControlUnavailable) and not isinstance(error, ControlDenied)


@task(name="drill", task_run_name="back and forward", timeout_seconds=DRILL_TIMEOUT_S + 60, **_CALL)
async def drill_once(points: float | None, scope: list[str] | None, by: str) -> dict[str, Any]:
    """Run the drill, or go on with the one under way; its record."""
    async with control() as client:
        return await run_drill(
            client, actor=_named(by), points=points, scope=scope, tell=get_run_logger().info
        )


@task(name="end", task_run_name="{verb}", timeout_seconds=60, **_CALL)
async def end(verb: str, confirm: str, dry_run: bool, by: str) -> dict[str, Any]:
    """Give ``cut_over`` or ``decommission``, or say what it would do: ``{"rollout", "facts"}``.

    Raises:
        Refused: the rollout does not allow it now, or the name is not the rollout's.
    """
    async with control() as client:
        rollout = await client.rollout()
        if rollout is None:
            raise UsageError(f"{verb}: there is no rollout")
        address = {"stage": rollout["stage"], "attempt": rollout["attempt"], "actor": _named(by)}
        if dry_run:
            name = str(rollout["name"])
            return await client.preview(verb, confirm=confirm or name, **address)
        return {"rollout": await client.command(verb, confirm=confirm, **address), "facts": []}


def _named(by: str) -> str:
    return f"{actor()} for {by}" if by else actor()
