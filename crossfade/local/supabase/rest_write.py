"""Insert, upsert, update and delete over PostgREST's interface, as one statement each. Pure."""

from typing import Any

from psycopg import sql

from crossfade.local.supabase import rest_sql
from crossfade.local.supabase.gateway import Refusal
from crossfade.local.supabase.rest_catalog import Table
from crossfade.local.supabase.rest_errors import pgrst
from crossfade.local.supabase.rest_request import Asked
from crossfade.local.supabase.rest_syntax import Query, not_built

__all__ = ["build_delete", "build_insert", "build_update"]


def build_insert(table: Table, query: Query, asked: Asked) -> sql.Composable | None:
    """``insert … returning``, wrapped so that it answers rows; None when there is nothing to do.

    Raises:
        Refusal: 400 for a body that is no object or array of objects of the same keys
            (PGRST102) or names an unknown column (PGRST204).
    """
    if query.where or query.order or query.limit is not None:
        raise not_built("filters on an insert")
    value = asked.value()
    rows = value if isinstance(value, list) else [value]
    if not all(isinstance(row, dict) for row in rows):
        raise pgrst(400, "PGRST102", "Empty or invalid json")
    if not rows:
        return None
    names = query.columns
    if names is None:
        names = list(rows[0])
        if any(set(row) != set(names) for row in rows):
            raise pgrst(400, "PGRST102", "All object keys must match")
    _check_columns(table, names)
    if not names:
        if len(rows) > 1:
            raise not_built("several rows of default values")
        insert = sql.SQL("insert into public.{} as {} default values").format(*_twice(table))
    else:
        insert = sql.SQL("insert into public.{} as {} ({}) select {} from {} as body").format(
            *_twice(table),
            sql.SQL(", ").join(map(sql.Identifier, names)),
            sql.SQL(", ").join(sql.Identifier("body", name) for name in names),
            # The text as it came: numbers keep their digits.
            _rows(
                table, names, asked, asked.body if isinstance(value, list) else f"[{asked.body}]"
            ),
        )
    return _returning(insert + _on_conflict(table, query, asked, names), table, query, asked)


def _rows(table: Table, names: list[str], asked: Asked, body: str) -> sql.Composable:
    """The rows of a JSON array; what they leave out is null, or the column's default."""
    left_out = [name for name in names if name in table.defaults]
    if asked.prefer.get("missing") != "default" or not left_out:
        return sql.SQL("json_populate_recordset(null::public.{}, {}::json)").format(
            sql.Identifier(table.name), sql.Literal(body)
        )
    # The expressions are the catalogue's own.
    defaults = sql.SQL(", ").join(
        sql.SQL("{}, ").format(sql.Literal(name)) + sql.SQL(table.defaults[name])
        for name in left_out
    )
    return sql.SQL(
        "(select row.* from jsonb_array_elements({}::jsonb) as one, lateral "
        "jsonb_populate_record(null::public.{}, jsonb_build_object({}) || one) as row)"
    ).format(sql.Literal(body), sql.Identifier(table.name), defaults)


def build_update(table: Table, query: Query, asked: Asked) -> sql.Composable | None:
    """``update … returning``; None when the body names no column.

    Raises:
        Refusal: 400 as for an insert, and for an update of everything (as hosted).
    """
    _check_where("UPDATE", query)
    value = asked.value()
    if not isinstance(value, dict):
        raise pgrst(400, "PGRST102", "Empty or invalid json")
    names = query.columns if query.columns is not None else list(value)
    _check_columns(table, names)
    if not names:
        return None
    update = sql.SQL(
        "update public.{} as {} set {} from "
        "json_populate_record(null::public.{}, {}::json) as pgrst_body"
    ).format(
        *_twice(table),
        sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier("pgrst_body", name))
            for name in names
        ),
        sql.Identifier(table.name),
        sql.Literal(asked.body),
    )
    return _returning(update + rest_sql.conditions(query.where, table.name), table, query, asked)


def build_delete(table: Table, query: Query, asked: Asked) -> sql.Composable:
    """``delete … returning``.

    Raises:
        Refusal: 400 for a delete of everything (as hosted).
    """
    _check_where("DELETE", query)
    delete = sql.SQL("delete from public.{} as {}").format(*_twice(table))
    return _returning(delete + rest_sql.conditions(query.where, table.name), table, query, asked)


def _returning(
    statement: sql.Composable, table: Table, query: Query, asked: Asked
) -> sql.Composable:
    if not asked.represents:  # what nobody wants to see, nobody needs the right to see
        return sql.SQL(
            "with changed as ({} returning 1) select '[]', count(*) from changed"
        ).format(statement)
    rows = sql.SQL("select {} from changed as {}{}").format(
        rest_sql.columns(query.select, table.name),
        sql.Identifier(table.name),
        rest_sql.ordering(query.order, table.name),
    )
    return sql.SQL("with changed as ({} returning {}.*) select {}").format(
        statement, sql.Identifier(table.name), rest_sql.as_json(rows)
    )


def _on_conflict(table: Table, query: Query, asked: Asked, names: list[str]) -> sql.Composable:
    resolution = asked.prefer.get("resolution")
    if resolution is None:
        return sql.SQL("")
    target = query.on_conflict or list(table.key)
    if not target:
        return sql.SQL("")
    _check_columns(table, target)
    clause = sql.SQL(" on conflict ({})").format(sql.SQL(", ").join(map(sql.Identifier, target)))
    if resolution == "ignore-duplicates" or not names:
        return clause + sql.SQL(" do nothing")
    return (
        clause
        + sql.SQL(" do update set ")
        + sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier("excluded", name))
            for name in names
        )
    )


def _check_where(word: str, query: Query) -> None:
    if query.limit is not None or query.offset:
        raise not_built(f"limit on {word}")
    if not query.where:
        raise Refusal(
            400,
            {
                "code": "21000",
                "details": None,
                "hint": None,
                "message": f"{word} requires a WHERE clause",
            },
        )


def _check_columns(table: Table, names: list[Any]) -> None:
    for name in names:
        if name not in table.columns:
            raise pgrst(
                400,
                "PGRST204",
                f"Could not find the '{name}' column of '{table.name}' in the schema cache",
            )


def _twice(table: Table) -> tuple[sql.Identifier, sql.Identifier]:
    return sql.Identifier(table.name), sql.Identifier(table.name)
