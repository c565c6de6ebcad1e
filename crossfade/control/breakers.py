"""Breakers by hand: an operator's mode for a sink, which every publisher follows with the flags."""

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from crossfade.control.service import ControlService
from crossfade.core.breaker import BreakerState
from crossfade.errors import UsageError

__all__ = ["MODES", "SINKS", "set_breaker"]

MODES = (
    BreakerState.FORCED_OPEN,
    BreakerState.DISABLED,
    BreakerState.METRICS_ONLY,
    BreakerState.CLOSED,
)
"""``closed`` gives the breakers back to themselves."""
SINKS = ("application", "websocket", "supabase")


async def set_breaker(service: ControlService, request: Request) -> Response:
    """``POST /v1/breakers``: ``{sink, mode, reason, actor}``.

    Raises:
        UsageError: one of them is missing or unknown.
    """
    try:
        body = orjson.loads(await request.body())
        fields = {name: str(body[name]).strip() for name in ("sink", "mode", "reason", "actor")}
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise UsageError("breaker: sink, mode, reason and actor must be given") from error
    for name, known in (("sink", SINKS), ("mode", MODES)):
        if fields[name] not in known:
            raise UsageError(f"breaker: {name}: must be one of {', '.join(known)}")
    for name in ("reason", "actor"):
        if not fields[name]:
            raise UsageError(f"breaker: {name}: must not be empty")
    mode = None if fields["mode"] == BreakerState.CLOSED else fields["mode"]
    command = {"verb": "breaker", **fields}
    flags = await service.db(
        service.store.set_breaker,
        fields["sink"],
        mode,
        command,
        fields["actor"],
        service.clock.now_us(),
    )
    await service.refresh()
    return JSONResponse({"version": flags.version, "breakers": dict(flags.breakers)})
