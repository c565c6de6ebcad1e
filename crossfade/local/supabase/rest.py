"""The part of PostgREST that Crossfade and its neighbours need: ``/rest/v1`` over ``public``."""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor, sql
from starlette.requests import Request
from starlette.responses import Response

from crossfade.local.supabase import rest_sql
from crossfade.local.supabase.database import DatabaseGone, NoConnectionFree, Pool, acting_as
from crossfade.local.supabase.gateway import Gateway, Refusal
from crossfade.local.supabase.rest_catalog import Catalog, Function
from crossfade.local.supabase.rest_errors import refusal
from crossfade.local.supabase.rest_request import JSON, Asked, answer_rows, read_request
from crossfade.local.supabase.rest_syntax import Query, not_built, parse_query
from crossfade.local.supabase.rest_write import build_delete, build_insert, build_update

__all__ = ["Rest"]

_Handler = Callable[[Request, Asked, AsyncConnection], Awaitable[Response]]


class Rest:
    """Handles ``/rest/v1``."""

    def __init__(self, gateway: Gateway, pool: Pool) -> None:
        self._gateway = gateway
        self._pool = pool
        self._catalog = Catalog()

    async def rpc(self, request: Request) -> Response:
        """``POST``, ``GET`` or ``HEAD /rest/v1/rpc/<function>``."""
        return await self._answer(request, self._call)

    async def table(self, request: Request) -> Response:
        """``/rest/v1/<table>``: ``GET``, ``HEAD``, ``POST``, ``PATCH``, ``DELETE``."""
        reads = request.method in ("GET", "HEAD")
        return await self._answer(request, self._select if reads else self._write)

    async def _answer(self, request: Request, handle: _Handler) -> Response:
        role = "anon"
        try:
            identity = self._gateway.identify(request.headers, request.query_params)
            role = identity.role
            asked = await read_request(request, identity)
            async with self._pool.connection() as connection:
                return await handle(request, asked, connection)
        except Refusal as refused:
            return refused.response()
        except (psycopg.Error, DatabaseGone, NoConnectionFree) as error:
            return refusal(error, role).response()

    async def _select(
        self, request: Request, asked: Asked, connection: AsyncConnection
    ) -> Response:
        table = await self._catalog.table(connection, request.path_params["table"])
        query = parse_query(request.query_params.multi_items())
        source = sql.SQL("public.{} as {}").format(
            sql.Identifier(table.name), sql.Identifier(table.name)
        )
        limit, offset = asked.bounds(query)
        statement = _read(source, table.name, query, asked, limit, offset)
        async with acting_as(connection, asked.identity, read_only=True, settings=_names(request)):
            row = await _one(connection, statement)
        return _rows(asked, row, offset)

    async def _write(self, request: Request, asked: Asked, connection: AsyncConnection) -> Response:
        table = await self._catalog.table(connection, request.path_params["table"])
        query = parse_query(request.query_params.multi_items())
        if request.method == "POST":
            statement = build_insert(table, query, asked)
        elif request.method == "PATCH":
            statement = build_update(table, query, asked)
        else:
            statement = build_delete(table, query, asked)
        done = 201 if request.method == "POST" else 200 if asked.represents else 204
        async with acting_as(connection, asked.identity, settings=_names(request)):
            row = ("[]", 0, None) if statement is None else await _one(connection, statement)
            content, count = str(row[0]), int(row[1])
            # Inside of the transaction: a refusal undoes it.
            total = count if asked.counts else None
            shown = content if asked.represents else "[]"
            if not asked.represents and not asked.single:
                headers = {"content-range": f"*/{'*' if total is None else total}"}
                return Response(status_code=done, headers=headers)
            return answer_rows(asked, shown, count, offset=0, total=total, status=done)

    async def _call(self, request: Request, asked: Asked, connection: AsyncConnection) -> Response:
        name = request.path_params["function"]
        pairs = request.query_params.multi_items()
        reads = request.method != "POST"
        if reads:
            given: dict[str, Any] = {key: value for key, value in pairs if key != "apikey"}
            known = {key for key in given if key not in ("select", "order", "limit", "offset")}
            function = await self._catalog.function(connection, name, known, query=True)
        else:
            given = asked.fields()
            function = await self._catalog.function(connection, name, set(given), query=False)
        arguments = [pair for pair in function.arguments if pair[0] in given]
        called, source = _called(function, arguments, given if reads else None)
        # A megabyte of events is a parameter and no part of the statement, which is parsed.
        body = () if reads or not arguments else (asked.body or "{}",)
        rest = [(k, v) for k, v in pairs if not (reads and k in dict(function.arguments))]
        query = parse_query(rest)
        settings = _names(request)
        if not (function.is_set or function.is_row):
            if query.where or query.select or query.order or query.limit is not None:
                raise not_built("filters on a function that returns one value")
            single = sql.SQL("select to_json({})::text from {}").format(called, source)
            async with acting_as(connection, asked.identity, read_only=reads, settings=settings):
                row = await _one(connection, single, body)
            if function.is_void:
                return Response(status_code=204)
            content = "null" if row[0] is None else str(row[0])
            return Response(content if request.method != "HEAD" else "", media_type=JSON)
        limit, offset = asked.bounds(query)
        rows = sql.SQL("{} cross join lateral {} as {}").format(
            source, called, sql.Identifier(function.name)
        )
        statement = _read(rows, function.name, query, asked, limit, offset, function)
        async with acting_as(connection, asked.identity, read_only=reads, settings=settings):
            row = await _one(connection, statement, body)
        if not function.is_set and not asked.single:
            content = "null" if not row[1] else str(row[0]).strip()[1:-1]
            return Response(content if request.method != "HEAD" else "", media_type=JSON)
        return _rows(asked, row, offset)


def _read(
    source: sql.Composable,
    name: str,
    query: Query,
    asked: Asked,
    limit: int,
    offset: int,
    function: Function | None = None,
) -> sql.Composable:
    """A statement that answers the rows as JSON, their number and, if wanted, that of all."""
    where = rest_sql.conditions(query.where, name)
    if function is not None and not function.is_row and query.select is None:
        # A set of plain values: an array of them, not of objects.
        chosen: sql.Composable = sql.SQL("{} as value").format(sql.Identifier(name))
        answered = sql.SQL("coalesce(json_agg(r.value), '[]')::text, count(*)")
    else:
        chosen = rest_sql.columns(query.select, name)
        answered = sql.SQL("coalesce(json_agg(r), '[]')::text, count(*)")
    rows = sql.SQL("select {} from {}{}{}{}").format(
        chosen,
        source,
        where,
        rest_sql.ordering(query.order, name),
        rest_sql.page(limit, offset),
    )
    total: sql.Composable = sql.SQL("null")
    if asked.counts:
        total = sql.SQL("(select count(*) from {}{})").format(source, where)
    return sql.SQL("select {}, {} from ({}) r").format(answered, total, rows)


def _called(
    function: Function, arguments: list[tuple[str, str]], query: dict[str, Any] | None
) -> tuple[sql.Composable, sql.Composable]:
    """The call and what it takes its arguments from: one JSON object as in PostgREST (the
    statement's parameter), or the texts of a query string. The types come from the catalogue."""
    if query is not None:
        values = [
            sql.SQL("{} => {}::").format(sql.Identifier(name), sql.Literal(query[name]))
            + sql.SQL(kind)
            for name, kind in arguments
        ]
        source: sql.Composable = sql.SQL("(select 1) as pgrst_body")
    else:
        values = [
            sql.SQL("{} => {}").format(sql.Identifier(name), sql.Identifier("pgrst_body", name))
            for name, _ in arguments
        ]
        columns = sql.SQL(", ").join(
            sql.SQL("{} ").format(sql.Identifier(name)) + sql.SQL(kind) for name, kind in arguments
        )
        source = (
            sql.SQL("json_to_record($1::json) as pgrst_body({})").format(columns)
            if arguments
            else sql.SQL("(select 1) as pgrst_body")
        )
    call = sql.SQL("public.{}({})").format(
        sql.Identifier(function.name), sql.SQL(", ").join(values)
    )
    return call, source


def _rows(asked: Asked, row: tuple[Any, ...], offset: int) -> Response:
    total = None if row[2] is None else int(row[2])
    return answer_rows(asked, str(row[0]), int(row[1]), offset=offset, total=total, status=200)


def _names(request: Request) -> dict[str, str]:
    return {
        "request.method": request.method,
        "request.path": request.url.path,
        "request.headers": json.dumps(
            {k: v for k, v in request.headers.items() if k not in ("apikey", "authorization")}
        ),
    }


async def _one(
    connection: AsyncConnection, statement: sql.Composable, parameters: Sequence[str] = ()
) -> tuple[Any, ...]:
    async with AsyncRawCursor(connection) as cursor:
        await cursor.execute(sql.Composed([statement]), parameters)
        row: tuple[Any, ...] | None = await cursor.fetchone()
    return ("[]", 0, None) if row is None else row
