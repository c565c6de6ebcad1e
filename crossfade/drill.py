"""The rollback drill from outside: start it, wait until everybody followed, twice.

Whoever runs it may die: the drill stands in the rollout's row, and running it again goes on.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from crossfade.adapters.control import ControlClient
from crossfade.core.verdict import Verdict
from crossfade.errors import ControlDenied, ControlUnavailable, CrossfadeError, Refused

__all__ = ["DRILL_TIMEOUT_S", "run_drill"]

DRILL_TIMEOUT_S = 300.0
_POLL_S = 0.1


async def run_drill(
    client: ControlClient,
    *,
    actor: str,
    points: float | None = None,
    scope: list[str] | None = None,
    timeout_s: float = DRILL_TIMEOUT_S,
    tell: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> dict[str, Any]:
    """Take ``points`` percentage points of ``scope`` back and forward; the drill's record.

    Waits through a control server that is away. Returns ``{"stage", "points", "scope",
    "back_ms", "forward_ms", "passed", "at_us"}`` as the server measured it.

    Raises:
        UsageError: there is no rollout.
        Refused: nobody is served there, or a step of the rollout is under way.
        CrossfadeError: not everybody followed within ``timeout_s``; the server holds the
            stage by itself if they never do.
    """
    rollout = await _rollout(client)
    before = rollout["last_drill"]
    address = {"stage": rollout["stage"], "attempt": rollout["attempt"], "actor": actor}
    rollout = await client.command("drill", points=points, scope=scope, **address)
    deadline = time.monotonic() + timeout_s
    said, missing = "", "nothing was heard yet"
    while rollout["phase"] == "drilling":
        step = "forward" if rollout["drill"]["back_ms"] is not None else "back"
        if step != said:
            tell(f"waiting until everybody is {step}")
            said = step
        try:
            missing = await _missing(client)
            if not missing:
                rollout = await client.command("drill_arrived", **address)
                continue
        except ControlDenied:
            raise
        except (ControlUnavailable, Refused) as error:
            # Unreachable, or an instance fell behind between the two calls: look again.
            missing = str(error)
        if time.monotonic() >= deadline:
            raise CrossfadeError(f"not everybody is {step} after {timeout_s:g} s: {missing}")
        await sleep(_POLL_S)
        rollout = await _latest(client, rollout)
    record = rollout["last_drill"]
    if record is None or record == before:
        raise CrossfadeError(
            f"the drill was ended: the rollout is {rollout['phase']} ({rollout['reason']})"
        )
    return dict(record)


async def _rollout(client: ControlClient) -> dict[str, Any]:
    rollout = await client.rollout()
    if rollout is None:
        raise Refused("drill: there is no rollout; start one with `crossfade start`")
    return rollout


async def _latest(client: ControlClient, known: dict[str, Any]) -> dict[str, Any]:
    try:
        return await client.rollout() or known
    except ControlDenied:
        raise
    except ControlUnavailable:
        return known


async def _missing(client: ControlClient) -> str:
    """Which instances do not follow the flags yet; "" when all live ones do."""
    evidence = (await client.status())["evidence"] or {}
    for one in evidence.get("measurements", ()):
        if one["name"] == "applied":
            if one["verdict"] == Verdict.PASS:
                return ""
            return str(one["detail"] or "no instance reports")
    return "no instance reports"
