"""The part of PostgREST that Crossfade needs: function calls and simple selects of ``public``."""

import json
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql
from starlette.requests import Request
from starlette.responses import Response

from crossfade.local.supabase.database import DatabaseGone, NoConnectionFree, Pool, acting_as
from crossfade.local.supabase.gateway import Gateway, Identity, Refusal
from crossfade.local.supabase.rest_errors import pgrst, refusal
from crossfade.local.supabase.rest_select import build_select

__all__ = ["MAX_BODY_BYTES", "MAX_ROWS", "Rest"]

MAX_ROWS = 1_000
"""Where the hosted API silently cuts an unbounded select."""
MAX_BODY_BYTES = 32_000_000
"""The stand-in's own limit of a request's body; above it 413."""

_FUNCTIONS = """
select p.proname, coalesce(p.proargnames[1:p.pronargs], '{}'),
       array(select format_type(t.oid, null)
             from unnest(p.proargtypes) with ordinality as a(oid, place)
             join pg_type t using (oid) order by a.place),
       p.pronargdefaults, p.proretset, p.prorettype = 'void'::regtype,
       t.typtype = 'c' or p.prorettype = 'record'::regtype
from pg_proc p
join pg_type t on t.oid = p.prorettype
where p.pronamespace = 'public'::regnamespace and p.prokind = 'f'
"""


@dataclass(frozen=True, slots=True)
class _Function:
    name: str
    arguments: tuple[tuple[str, str], ...]
    defaults: int
    is_set: bool
    is_void: bool
    is_row: bool

    def fits(self, given: set[str]) -> bool:
        names = [name for name, _ in self.arguments]
        required = names[: len(names) - self.defaults]
        return all(names) and given <= set(names) and given >= set(required)


class Rest:
    """Handles ``/rest/v1``."""

    def __init__(self, gateway: Gateway, pool: Pool) -> None:
        self._gateway = gateway
        self._pool = pool
        self._functions: list[_Function] = []

    async def rpc(self, request: Request) -> Response:
        """``POST`` or ``GET /rest/v1/rpc/<function>``."""
        return await self._answer(request, self._call)

    async def table(self, request: Request) -> Response:
        """``GET /rest/v1/<table>``."""
        return await self._answer(request, self._select)

    async def _answer(self, request: Request, handle: Any) -> Response:
        role = "anon"
        try:
            identity = self._gateway.identify(request.headers, request.query_params)
            role = identity.role
            schema = request.headers.get(
                "accept-profile" if request.method == "GET" else "content-profile", "public"
            )
            if schema not in ("public", "graphql_public"):
                raise pgrst(
                    406,
                    "PGRST106",
                    f"Invalid schema: {schema}",
                    hint="Only the following schemas are exposed: public, graphql_public",
                )
            body = await _body(request)
            async with self._pool.connection() as connection:
                response: Response = await handle(request, identity, body, connection)
                return response
        except Refusal as refused:
            return refused.response()
        except (psycopg.Error, DatabaseGone, NoConnectionFree) as error:
            return refusal(error, role).response()

    async def _call(
        self, request: Request, identity: Identity, body: bytes, connection: AsyncConnection
    ) -> Response:
        name = request.path_params["function"]
        if request.method == "GET":
            given = {key: value for key, value in request.query_params.items() if key != "apikey"}
            text = json.dumps(given)
        else:
            given, text = _object(body)
        function = await self._find(connection, name, set(given))
        call = _call_of(function, [pair for pair in function.arguments if pair[0] in given])
        async with acting_as(
            connection,
            identity,
            read_only=request.method == "GET",
            settings={"request.method": request.method, "request.path": request.url.path},
        ):
            cursor = await connection.execute(call, (text,))
            row = await cursor.fetchone()
        if function.is_void:
            return Response(status_code=204)
        content = "null" if row is None or row[0] is None else str(row[0])
        return Response(content, media_type="application/json; charset=utf-8")

    async def _find(self, connection: AsyncConnection, name: str, given: set[str]) -> _Function:
        for fresh in (False, True):
            if fresh or not self._functions:
                await self._load(connection)
            for function in self._functions:
                if function.name == name and function.fits(given):
                    return function
        arguments = ", ".join(sorted(given))
        wanted = f"public.{name}({arguments})" if given else f"public.{name}"
        what = f"with parameters {arguments}" if given else "without parameters"
        raise pgrst(
            404,
            "PGRST202",
            f"Could not find the function {wanted} in the schema cache",
            details=f"Searched for the function public.{name} {what}, but no matches were found "
            "in the schema cache.",
        )

    async def _load(self, connection: AsyncConnection) -> None:
        cursor = await connection.execute(_FUNCTIONS)
        self._functions = [
            _Function(name, tuple(zip(names, types, strict=False)), defaults, *flags)
            for name, names, types, defaults, *flags in await cursor.fetchall()
        ]

    async def _select(
        self, request: Request, identity: Identity, body: bytes, connection: AsyncConnection
    ) -> Response:
        query, offset = build_select(
            request.path_params["table"], request.query_params.multi_items(), MAX_ROWS
        )
        async with acting_as(connection, identity, read_only=True):
            cursor = await connection.execute(query)
            row = await cursor.fetchone()
        content, count = (str(row[0]), int(row[1])) if row else ("[]", 0)
        span = f"{offset}-{offset + count - 1}" if count else "*"
        return Response(
            content,
            media_type="application/json; charset=utf-8",
            headers={"content-range": f"{span}/*"},
        )


def _call_of(function: _Function, arguments: list[tuple[str, str]]) -> sql.Composed:
    """The call, with the arguments taken from one JSON object as PostgREST does."""
    called = sql.SQL("public.{}({})").format(
        sql.Identifier(function.name),
        sql.SQL(", ").join(
            sql.SQL("{} => b.{}").format(sql.Identifier(name), sql.Identifier(name))
            for name, _ in arguments
        ),
    )
    columns = sql.SQL(", ").join(
        # The type comes from the catalogue.
        sql.SQL("{} " + kind).format(sql.Identifier(name))
        for name, kind in arguments
    )
    source = (
        sql.SQL("json_to_record(p.body) as b({})").format(columns)
        if arguments
        else sql.SQL("(select 1) as b")
    )
    payload = sql.SQL("(select %s::json as body) as p cross join lateral {}").format(source)
    if function.is_set or function.is_row:
        rows = sql.SQL(
            "select to_json(r)::text as one from {payload} cross join lateral {called} as r "
            "limit {n}"
        ).format(payload=payload, called=called, n=sql.Literal(MAX_ROWS))
        if function.is_set:
            return sql.SQL(
                "select '[' || coalesce(string_agg(one, ','), '') || ']' from ({}) s"
            ).format(rows)
        return rows
    return sql.SQL("select to_json({called})::text from {payload}").format(
        called=called, payload=payload
    )


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise Refusal(413, {"message": "Request size limit exceeded"})
        parts.append(part)
    return b"".join(parts)


def _object(body: bytes) -> tuple[dict[str, Any], str]:
    """The arguments of a call, and their text, which the database gets unchanged."""
    try:
        text = body.decode() or "{}"
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise pgrst(400, "PGRST102", "Empty or invalid json")
    return value, text
