"""The tables that ``postgres_changes`` reads: what is published, what a role may see of it, and
whether a subscription makes sense.
"""

from dataclasses import dataclass

import psycopg
from psycopg import AsyncConnection, sql

from crossfade.local.supabase.change_filters import ChangesError, Filter, Subscription
from crossfade.local.supabase.gateway import Identity

__all__ = ["Relation", "check_subscription", "condition", "find_relation", "readable_columns"]

_TABLES = """
select count(*) from pg_publication_tables
where pubname = 'supabase_realtime'
  and (%(schema)s = '*' or schemaname = %(schema)s) and (%(table)s = '*' or tablename = %(table)s)
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
class Relation:
    """A published table; ``key`` is its primary key, ``columns`` are name and type."""

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
    readable = await readable_columns(connection, oid[0] if oid else 0, identity.role)
    for column in (*(one.column for one in subscription.filters), *(subscription.select or ())):
        if column not in readable:
            return f"ERROR P0001 (raise_exception) invalid column for filter {column}"
    test = sql.SQL("select 1 from (select null::{} as r) n, lateral (select (n.r).*) row ").format(
        name
    )
    try:
        await connection.execute(test + condition(subscription.filters))
    except psycopg.DataError as error:
        state = (error.sqlstate or "", type(error).__name__)
        words = "".join(f"_{char.lower()}" if char.isupper() else char for char in state[1])
        return f"ERROR {state[0]} ({words.lstrip('_')}) {error.diag.message_primary}"
    except psycopg.ProgrammingError as error:
        return f"ERROR {error.sqlstate} {error.diag.message_primary}"
    return None


async def readable_columns(connection: AsyncConnection, oid: int, role: str) -> set[str]:
    """The columns that the role may select; none when there is no such role."""
    try:
        row = await (await connection.execute(_READABLE, (oid, role))).fetchone()
    except psycopg.errors.UndefinedObject:
        return set()
    return set(row[0]) if row else set()


async def find_relation(connection: AsyncConnection, oid: int) -> Relation | None:
    """The table; None when it was dropped meanwhile."""
    row = await (await connection.execute(_RELATION, (oid,))).fetchone()
    if row is None:
        return None
    schema, table, has_rls, keeps, columns, key = row
    return Relation(oid, schema, table, has_rls, keeps, tuple(columns or ()), tuple(key))


def condition(filters: tuple[Filter, ...], *, escaped: bool = False) -> sql.Composable:
    """``where …`` on the row named ``row``, or nothing; ``escaped`` for a statement with
    parameters."""
    if not filters:
        return sql.SQL("")
    tests: sql.Composable = sql.SQL(" and ").join(one.condition("row") for one in filters)
    if escaped:  # a percent sign would be read as a parameter
        tests = sql.SQL(tests.as_string(None).replace("%", "%%"))
    return sql.SQL("where ") + tests
