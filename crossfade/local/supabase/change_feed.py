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

from crossfade.local.supabase.change_filters import ChangesError, Filter, Subscription
from crossfade.local.supabase.channels import Channel, Topics
from crossfade.local.supabase.database import acting_as
from crossfade.local.supabase.gateway import Identity
from crossfade.local.supabase.wire import RawJson

__all__ = ["check_subscription", "deliver_changes"]

_MAX_RECORD_BYTES = 1_048_576
"""Above it a change travels with its small values only."""
_SMALL_BYTES = 64

_TABLES = """
select count(*) from pg_publication_tables
where pubname = 'supabase_realtime'
  and (%(schema)s = '*' or schemaname = %(schema)s) and (%(table)s = '*' or tablename = %(table)s)
"""
_CHANGES = """
delete from realtime.stand_in_changes where id = any(%s)
returning id, relation, operation, record::text, old_record::text,
  to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), pg_column_size(record)
"""
_RELATION = """
select n.nspname, c.relname, c.relrowsecurity, c.relreplident = 'f',
  (select jsonb_agg(jsonb_build_object('name', a.attname, 'type', t.typname) order by a.attnum)
   from pg_attribute a join pg_type t on t.oid = a.atttypid
   where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
  coalesce((select array_agg(a.attname::text) from pg_index i
    join pg_attribute a on a.attrelid = c.oid and a.attnum = any(i.indkey)
    where i.indrelid = c.oid and i.indisprimary), '{}')
from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = %s
"""
_READABLE = """
select coalesce(array_agg(a.attname::text), '{}') from pg_attribute a
where a.attrelid = %s and a.attnum > 0 and not a.attisdropped
  and has_column_privilege(%s::name, a.attrelid, a.attnum, 'SELECT')
"""


@dataclass(frozen=True, slots=True)
class _Relation:
    oid: int
    schema: str
    table: str
    has_rls: bool
    keeps_everything: bool
    columns: tuple[dict[str, str], ...]
    key: tuple[str, ...]

    @property
    def name(self) -> sql.Composable:
        return sql.Identifier(self.schema, self.table)


@dataclass(slots=True)
class _Change:
    relation: _Relation
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


async def check_subscription(
    connection: AsyncConnection, subscription: Subscription, identity: Identity
) -> None:
    """Whether the publication has such a table, and the filters such columns.

    Raises:
        ChangesError: with the real server's sentence.
        psycopg.Error: the database can not be asked.
    """
    wanted = {"schema": subscription.schema, "table": subscription.table}
    row = await (await connection.execute(_TABLES, wanted)).fetchone()
    begins = "Unable to subscribe to changes with given parameters."
    if row is None or not row[0]:
        raise ChangesError(
            f"{begins} Please check Realtime is enabled for the given connect parameters: "
            f"{subscription.logged()}"
        )
    exception = await _wrong_filter(connection, subscription, identity)
    if exception is not None:
        raise ChangesError(
            f"{begins} An exception happened so please check your connect parameters: "
            f"{subscription.logged()}. Exception: {exception}"
        )


async def _wrong_filter(
    connection: AsyncConnection, subscription: Subscription, identity: Identity
) -> str | None:
    if not subscription.filters and subscription.select is None:
        return None
    if "*" in (subscription.schema, subscription.table):
        return "ERROR P0001 (raise_exception) invalid column for filter " + (
            subscription.filters[0].column if subscription.filters else "*"
        )
    name = sql.Identifier(subscription.schema, subscription.table)
    oid = await (
        await connection.execute("select %s::regclass::oid", (name.as_string(connection),))
    ).fetchone()
    readable = await _readable(connection, oid[0] if oid else 0, identity.role)
    for column in (*(one.column for one in subscription.filters), *(subscription.select or ())):
        if column not in readable:
            return f"ERROR P0001 (raise_exception) invalid column for filter {column}"
    test = sql.SQL("select 1 from (select null::{} as r) n, lateral (select (n.r).*) row ").format(
        name
    )
    try:
        await connection.execute(test + _where(subscription.filters))
    except psycopg.DataError as error:
        state = (error.sqlstate or "", type(error).__name__)
        words = "".join(f"_{char.lower()}" if char.isupper() else char for char in state[1])
        return f"ERROR {state[0]} ({words.lstrip('_')}) {error.diag.message_primary}"
    except psycopg.ProgrammingError as error:
        return f"ERROR {error.sqlstate} {error.diag.message_primary}"
    return None


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
    relations: dict[int, _Relation | None] = {}
    for _, oid, event, record, old, at, size in sorted(rows):
        if oid not in relations:
            relations[oid] = await _relation(connection, oid)
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
        change, ("readable", role), lambda: _readable(connection, relation.oid, role)
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
        ) + _where(filters, escaped=True)
        cursor = await connection.execute(query, (orjson.dumps(change.row).decode(),))
        return await cursor.fetchone() is not None

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
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue):
            return False

    key = ("visible", identity.role, json.dumps(dict(identity.claims), sort_keys=True))
    return bool(await _remember(change, key, ask))


async def _readable(connection: AsyncConnection, oid: int, role: str) -> set[str]:
    try:
        row = await (await connection.execute(_READABLE, (oid, role))).fetchone()
    except psycopg.errors.UndefinedObject:
        return set()
    return set(row[0]) if row else set()


async def _relation(connection: AsyncConnection, oid: int) -> _Relation | None:
    row = await (await connection.execute(_RELATION, (oid,))).fetchone()
    if row is None:
        return None  # dropped meanwhile
    schema, table, has_rls, keeps, columns, key = row
    return _Relation(oid, schema, table, has_rls, keeps, tuple(columns or ()), tuple(key))


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


def _where(filters: tuple[Filter, ...], *, escaped: bool = False) -> sql.Composable:
    if not filters:
        return sql.SQL("")
    tests: sql.Composable = sql.SQL(" and ").join(one.condition("row") for one in filters)
    if escaped:  # a percent sign would be read as a parameter
        tests = sql.SQL(tests.as_string(None).replace("%", "%%"))
    return sql.SQL("where ") + tests
