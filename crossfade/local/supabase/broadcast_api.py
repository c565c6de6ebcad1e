"""``POST /realtime/v1/api/broadcast``: sending without a socket."""

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from crossfade.local.supabase.authorize import may_write
from crossfade.local.supabase.channels import Topics
from crossfade.local.supabase.database import Pool
from crossfade.local.supabase.gateway import Gateway, Identity
from crossfade.local.supabase.joins import DATABASE_ERRORS
from crossfade.local.supabase.tokens import TokenFault
from crossfade.local.supabase.wire import Broadcast

__all__ = ["BroadcastApi"]

_RATE_LIMITED = {"message": "You have exceeded your rate limit"}
_UNAUTHORIZED = JSONResponse({"message": "Unauthorized"}, 401)
_MAX_BODY_BYTES = 3_000_000


class BroadcastApi:
    """The two calls: a batch of messages, and one event with its content as the body."""

    def __init__(self, gateway: Gateway, pool: Pool, topics: Topics) -> None:
        self._gateway = gateway
        self._pool = pool
        self._topics = topics

    async def batch(self, request: Request) -> Response:
        """202 even for messages that the caller may not send: those are dropped in silence."""
        identity = self._identify(request)
        if identity is None:
            return _UNAUTHORIZED
        body = _json(await request.body())
        messages = body.get("messages") if isinstance(body, dict) else None
        if not isinstance(messages, list):
            return JSONResponse({"errors": {"messages": ["can't be blank"]}}, 422)
        if self._topics.floods():
            return JSONResponse(_RATE_LIMITED, 429)
        faults = [_faults(message) for message in messages]
        if any(faults):
            return JSONResponse({"errors": {"messages": faults}}, 422)
        for message in messages:
            private = message.get("private") is True
            if not private or await self._may_write(identity, message["topic"]):
                envelope = {
                    "event": message["event"],
                    "payload": message["payload"],
                    "type": "broadcast",
                }
                self._topics.broadcast(Broadcast(message["topic"], private, envelope=envelope))
        return Response(status_code=202)

    async def single(self, request: Request) -> Response:
        """One event; a private one that the caller may not send is a 403."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        if kind not in ("application/json", "application/octet-stream"):
            message = "Unsupported Media Type. Use application/json or application/octet-stream"
            return JSONResponse({"error": message}, 415)
        identity = self._identify(request)
        if identity is None:
            return _UNAUTHORIZED
        if self._topics.floods():
            return JSONResponse(_RATE_LIMITED, 429)
        topic, event = request.path_params["topic"], request.path_params["event"]
        private = request.query_params.get("private") == "true"
        content = await request.body()
        if len(content) > _MAX_BODY_BYTES:
            return JSONResponse({"error": "Payload size exceeded"}, 413)
        is_json = kind == "application/json"
        if is_json and _json(content) is None:
            return JSONResponse({"error": "Invalid JSON"}, 400)
        if private and not await self._may_write(identity, topic):
            return JSONResponse({"message": "Unauthorized"}, 403)
        self._topics.broadcast(Broadcast(topic, private, event, content, is_json))
        return Response(status_code=202)

    def _identify(self, request: Request) -> Identity | None:
        header = request.headers.get("authorization", "")
        token = header[7:] if header[:7].lower() == "bearer " else request.headers.get("apikey", "")
        try:
            claims = self._gateway.check_token(token)
        except TokenFault:
            return None
        return Identity(claims.role, claims.values)

    async def _may_write(self, identity: Identity, topic: str) -> bool:
        try:
            return await may_write(self._pool, identity, topic)
        except DATABASE_ERRORS:
            return False


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def _faults(message: Any) -> dict[str, list[str]]:
    if not isinstance(message, dict):
        return {"messages": ["is invalid"]}
    return {
        name: ["can't be blank"]
        for name in ("payload", "event", "topic")
        if message.get(name) in (None, "")
    }
