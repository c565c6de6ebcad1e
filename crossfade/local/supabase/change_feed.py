"""Changes of the published tables, given to the channels that may see them.

As the real server does: the filter is applied by the database in the column's type; whether a
row of a table with row level security is visible is asked of the database as the subscriber,
for inserts and updates; of a deleted row everybody gets the primary key.
"""

import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
import psycopg
from psycopg import AsyncConnection, sql

from crossfade.local.supabase.change_filters import Filter
from crossfade.local.supabase.change_tables import (
    Relation,
    condition,
    find_relation,
    readable_columns,
)
from crossfade.local.supabase.channels import Channel, Topics
from crossfade.local.supabase.database import acting_as
from crossfade.local.supabase.gateway import Identity
from crossfade.local.supabase.wire import RawJson

__all__ = ["deliver_changes"]

_MAX_RECORD_BYTES = 1_048_576
"""Above it a change travels with its small values only."""
_SMALL_BYTES = 64

_CHANGES = """
delete from realtime.stand_in_changes where id = any(%s)
returning id, relation, operation, record::text, old_record::text,
  to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), pg_column_size(record)
"""


@dataclass(slots=True)
class _Change:
    relation: Relation
    event: str
    record: dict[str, Any] | None
    old_record: dict[str, Any] | None
    at: str
    too_large: bool
    memory: dict[Any, Any] = field(default_factory=dict)
    """Answers of the database that several subscribers share."""

    @property
    def row(self) -> dict[str, Any]:
        """What filters look at."""
        return self.record if self.record is not None else self.old_record or {}


async def deliver_changes(
    connection: AsyncConnection, numbers: list[int], topics: Topics, *, live: bool
) -> None:
    """Take the changes of these numbers from the database and send them; without ``live`` they
    are only taken.

    Raises:
        psycopg.Error: the connection broke.
    """
    rows = await (await connection.execute(_CHANGES, (numbers,))).fetchall()
    subscribers = [channel for channel in topics.all() if channel.changes]
    if not live or not subscribers:
        return
    relations: dict[int, Relation | None] = {}
    for _, oid, event, record, old, at, size in sorted(rows):
        if oid not in relations:
            relations[oid] = await find_relation(connection, oid)
        relation = relations[oid]
        if relation is not None:
            change = _Change(
                relation, event, _parsed(record), _parsed(old), at, (size or 0) > _MAX_RECORD_BYTES
            )
            only_key = relation.has_rls or not relation.keeps_everything
            if change.old_record is not None and only_key:
                change.old_record = {name: change.old_record[name] for name in relation.key}
            for channel in subscribers:
                await _offer(connection, change, channel, topics)


async def _offer(
    connection: AsyncConnection, change: _Change, channel: Channel, topics: Topics
) -> None:
    relation = change.relation
    wanted: dict[tuple[str, ...] | None, list[int]] = {}
    for subscription in channel.changes:
        covers = subscription.covers(change.event, relation.schema, relation.table)
        if covers and await _passes(connection, change, subscription.filters):
            wanted.setdefault(subscription.select, []).append(subscription.number)
    if not wanted or not await _visible(connection, change, channel.identity):
        return
    role = channel.identity.role
    readable = await _remember(
        change, ("readable", role), lambda: readable_columns(connection, relation.oid, role)
    )
    for select, numbers in wanted.items():
        payload = {"data": _data(change, readable, select), "ids": numbers[::-1]}
        topics.push(channel, "postgres_changes", RawJson(orjson.dumps(payload).decode()))


async def _remember(change: _Change, key: Any, ask: Callable[[], Awaitable[Any]]) -> Any:
    if key not in change.memory:
        change.memory[key] = await ask()
    return change.memory[key]


async def _passes(
    connection: AsyncConnection, change: _Change, filters: tuple[Filter, ...]
) -> bool:
    if not filters:
        return True
    if any(one.column not in change.row for one in filters):
        return False

    async def ask() -> bool:
        query = sql.SQL("select 1 from jsonb_populate_record(null::{}, %s::jsonb) as row ").format(
            change.relation.name
        ) + condition(filters, escaped=True)
        try:
            cursor = await connection.execute(query, (orjson.dumps(change.row).decode(),))
            return await cursor.fetchone() is not None
        except psycopg.Error:
            # A pattern that is none, a policy that raises: a no for whoever asks.
            if connection.closed or connection.broken:
                raise
            return False

    return bool(await _remember(change, ("passes", filters), ask))


async def _visible(connection: AsyncConnection, change: _Change, identity: Identity) -> bool:
    relation = change.relation
    record = change.record
    if record is None or not relation.has_rls or not relation.key:
        return True

    async def ask() -> bool:
        query = sql.SQL("select 1 from {} where ").format(relation.name) + sql.SQL(" and ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(_text(record[name])))
            for name in relation.key
        )
        try:
            async with acting_as(connection, identity, read_only=True):
                return await (await connection.execute(query)).fetchone() is not None
        except psycopg.Error:
            # A pattern that is none, a policy that raises: a no for whoever asks.
            if connection.closed or connection.broken:
                raise
            return False

    key = ("visible", identity.role, json.dumps(dict(identity.claims), sort_keys=True))
    return bool(await _remember(change, key, ask))


def _data(change: _Change, readable: set[str], select: tuple[str, ...] | None) -> dict[str, Any]:
    relation = change.relation
    data: dict[str, Any] = {
        "schema": relation.schema,
        "table": relation.table,
        "type": change.event,
        "commit_timestamp": change.at,
        "errors": None,
    }
    error = None
    if change.record is not None and not relation.key:
        error = "Error 400: Bad Request, no primary key"
    elif change.record is not None and not set(relation.key) <= readable:
        error = "Error 401: Unauthorized"
    if error is not None:
        return {**data, "columns": [], "record": {}, "errors": [error]}
    shown = readable if select is None else readable & set(select)
    data["columns"] = [column for column in relation.columns if column["name"] in shown]
    for name, row in (("record", change.record), ("old_record", change.old_record)):
        if row is not None:
            data[name] = {key: value for key, value in row.items() if key in shown}
            if change.too_large:
                data[name] = _small(data[name].items())
                data["errors"] = ["Error 413: Payload Too Large"]
    return data


def _parsed(text: str | None) -> dict[str, Any] | None:
    """A row. Numbers with a fraction keep their text: a float would change some of them."""
    row: dict[str, Any] | None = (
        None if text is None else json.loads(text, parse_float=orjson.Fragment)
    )
    return row


def _small(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in items if len(orjson.dumps(value)) <= _SMALL_BYTES}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
