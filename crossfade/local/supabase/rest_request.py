"""One REST request as values, and its answer: Prefer, Range, Accept, Content-Range."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from crossfade.local.supabase.gateway import Identity, Refusal
from crossfade.local.supabase.rest_errors import pgrst
from crossfade.local.supabase.rest_syntax import Query, not_built

__all__ = ["JSON", "MAX_BODY_BYTES", "MAX_ROWS", "Asked", "answer_rows", "read_request"]

MAX_ROWS = 1_000
"""Where the hosted API silently cuts an unbounded select."""
MAX_BODY_BYTES = 32_000_000
"""The stand-in's own limit of a request's body; above it 413."""
JSON = "application/json; charset=utf-8"
_OBJECT = "application/vnd.pgrst.object+json"
_PREFERENCES = {
    "return": {"minimal", "headers-only", "representation"},
    "count": {"exact", "planned", "estimated"},
    "resolution": {"merge-duplicates", "ignore-duplicates"},
    "missing": {"null", "default"},
    "handling": {"lenient", "strict"},
    "tx": {"commit"},
}


@dataclass(slots=True)
class Asked:
    """Everything of a request but its path.

    Attributes:
        single: whether one object is wanted instead of an array.
        prefer: the preferences by name.
        body: the text of the body.
    """

    method: str
    identity: Identity
    body: str
    single: bool = False
    prefer: Mapping[str, str] = field(default_factory=dict)
    range: tuple[int, int | None] | None = None

    @property
    def counts(self) -> bool:
        """Whether the number of all rows is wanted. An estimate is answered exactly."""
        return "count" in self.prefer

    @property
    def represents(self) -> bool:
        return self.prefer.get("return") == "representation"

    def bounds(self, query: Query) -> tuple[int, int]:
        """Limit (cut at ``MAX_ROWS``) and offset, by query string or Range header."""
        limit, offset = query.limit, query.offset
        if self.range is not None and limit is None and not offset:
            offset = self.range[0]
            if self.range[1] is not None:
                limit = self.range[1] - offset + 1
        return min(MAX_ROWS if limit is None else limit, MAX_ROWS), offset

    def value(self) -> Any:
        """The body.

        Raises:
            Refusal: 400 (PGRST102), it is no JSON.
        """
        try:
            return json.loads(self.body or "null")
        except (ValueError, RecursionError):
            raise pgrst(400, "PGRST102", "Empty or invalid json") from None

    def fields(self) -> dict[str, Any]:
        """The body as an object, for its names: numbers may be rounded.

        Raises:
            Refusal: 400 (PGRST102), it is no object.
        """
        try:
            given = orjson.loads(self.body or "{}")
        except orjson.JSONDecodeError:
            given = None
        if not isinstance(given, dict):
            raise pgrst(400, "PGRST102", "Empty or invalid json")
        return given


async def read_request(request: Request, identity: Identity) -> Asked:
    """Read headers and body.

    Raises:
        Refusal: 406 for another schema, 413, 400 for text that is no UTF-8, 501 for media types
            and preferences that are not built.
    """
    reads = request.method in ("GET", "HEAD")
    schema = request.headers.get("accept-profile" if reads else "content-profile", "public")
    if schema not in ("public", "graphql_public"):
        raise pgrst(
            406,
            "PGRST106",
            f"Invalid schema: {schema}",
            hint="Only the following schemas are exposed: public, graphql_public",
        )
    if schema != "public":
        raise not_built(f"schema {schema}")
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip()
    body = await _body(request)
    if body and not reads and kind != "application/json":
        raise not_built(f"Content-Type {kind}")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise pgrst(400, "PGRST102", "Empty or invalid json") from None
    return Asked(
        request.method,
        identity,
        text,
        _is_single(request.headers.get("accept", "")),
        _preferences(request.headers.getlist("prefer")),
        _range(request.headers.get("range", "")) if reads else None,
    )


def answer_rows(
    asked: Asked, content: str, count: int, *, offset: int, total: int | None, status: int
) -> Response:
    """An array of rows, or the only one when a single one is wanted.

    Args:
        total: of all rows, if it was counted.

    Raises:
        Refusal: 406 (PGRST116) when a single row is wanted and there is another number,
            416 (PGRST103) when the offset is beyond the counted rows.
    """
    if asked.single and count != 1:
        raise pgrst(
            406,
            "PGRST116",
            "Cannot coerce the result to a single JSON object",
            details=f"The result contains {count} rows",
        )
    if total is not None and offset > total:
        raise pgrst(
            416,
            "PGRST103",
            "Requested range not satisfiable",
            details=f"An offset of {offset} was requested, but there are only {total} rows.",
        )
    span = f"{offset}-{offset + count - 1}" if count else "*"
    headers = {"content-range": f"{span}/{'*' if total is None else total}"}
    if status == 200 and total is not None and count < total:
        status = 206
    applied = ", ".join(f"{name}={value}" for name, value in asked.prefer.items())
    if applied:
        headers["preference-applied"] = applied
    if asked.single:
        media, content = f"{_OBJECT}; charset=utf-8", content.strip()[1:-1]
    else:
        media = JSON
    return Response(
        "" if asked.method == "HEAD" else content, status, headers=headers, media_type=media
    )


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise Refusal(413, {"message": "Request size limit exceeded"})
        parts.append(part)
    return b"".join(parts)


def _is_single(accept: str) -> bool:
    kinds = [part.strip() for part in accept.split(",") if part.strip()]
    for kind in kinds:
        name = kind.partition(";")[0].strip()
        if "nulls=stripped" in kind:
            raise not_built(f"Accept {kind}")
        if name == _OBJECT:
            return True
        if name in ("application/json", "*/*", "application/*", "application/vnd.pgrst.array+json"):
            return False
    if kinds:
        raise not_built(f"Accept {accept}")
    return False


def _preferences(headers: list[str]) -> dict[str, str]:
    prefer: dict[str, str] = {}
    for text in ",".join(headers).split(","):
        name, _, value = text.strip().partition("=")
        if name in _PREFERENCES and value in _PREFERENCES[name]:
            prefer[name] = value
        elif name in ("missing", "max-affected", "tx", "timezone"):
            raise not_built(f"Prefer {text.strip()}")
    return prefer


def _range(text: str) -> tuple[int, int | None] | None:
    first, dash, last = text.removeprefix("items=").partition("-")
    if not dash or not first.isdigit() or (last and not last.isdigit()):
        return None
    if last and int(last) < int(first):
        details = "The lower boundary must be lower than or equal to the upper boundary."
        raise pgrst(416, "PGRST103", "Requested range not satisfiable", details=details)
    return int(first), int(last) if last else None
