"""Gaps of the tap's coverage that a person accepted: who, when, which range and why, in the audit.

They are accepted where the stores are compared (``crossfade reconcile --acknowledge-gap``). The
command tells the server first; and since every result names the gaps that count in it, one that
was not told is in the audit at the latest with the first result that rests on it.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from crossfade.control.service import ControlService
from crossfade.core.gaps import gaps_from_json
from crossfade.errors import UsageError

__all__ = ["accept_gaps"]


async def accept_gaps(service: ControlService, request: Request) -> Response:
    """``POST /v1/gaps``: ``{gaps: [{range, by, reason, at_us}]}``; answers how many are new.

    Raises:
        UsageError: it is not of this form, or nobody or no reason is named.
    """
    try:
        body: Mapping[str, Any] = orjson.loads(await request.body())
        gaps = gaps_from_json(body["gaps"])
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise UsageError("gaps: a list of {range, by, reason, at_us} must be given") from error
    new = await service.db(
        service.store.accept_gaps, gaps, request.state.who, service.clock.now_us()
    )
    return JSONResponse({"new": new})
