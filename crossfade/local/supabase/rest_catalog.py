"""What PostgREST calls its schema cache: the tables and functions of ``public``."""

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import AsyncConnection

from crossfade.local.supabase.rest_errors import pgrst

__all__ = ["Catalog", "Function", "Table"]

_TABLES = """
select c.relname,
  array(select a.attname::text from pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attnum),
  array(select a.attname::text from pg_index i join pg_attribute a
          on a.attrelid = c.oid and a.attnum = any(i.indkey)
        where i.indrelid = c.oid and i.indisprimary order by a.attnum),
  (select coalesce(json_object_agg(a.attname, case when a.attidentity = ''
            then pg_get_expr(f.adbin, f.adrelid)
            else format('nextval(%%L::regclass)',
                        pg_get_serial_sequence(c.oid::regclass::text, a.attname)) end), '{}')
   from pg_attribute a left join pg_attrdef f on f.adrelid = a.attrelid and f.adnum = a.attnum
   where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
     and (f.adbin is not null or a.attidentity <> ''))
from pg_class c
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f')
"""
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
class Table:
    """A table or view with its columns, the primary key's, and the expressions of defaults."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    defaults: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Function:
    """A function with its named arguments (name, type); the last ``defaults`` may be left out."""

    name: str
    arguments: tuple[tuple[str, str], ...]
    defaults: int
    is_set: bool
    is_void: bool
    is_row: bool

    def fits(self, given: set[str]) -> bool:
        """Whether it can be called with exactly these arguments."""
        names = [name for name, _ in self.arguments]
        required = names[: len(names) - self.defaults]
        return all(names) and given <= set(names) and given >= set(required)

    def fits_query(self, given: set[str]) -> bool:
        """Whether a query string holds its arguments; what else it holds are filters."""
        names = [name for name, _ in self.arguments]
        others = given - set(names)
        may_filter = self.is_set or self.is_row
        return self.fits(given - others) and (may_filter or not others)


class Catalog:
    """Loaded when something is asked for that it does not know; shared by all requests."""

    def __init__(self) -> None:
        self._tables: Mapping[str, Table] = {}
        self._functions: list[Function] = []

    async def table(self, connection: AsyncConnection, name: str) -> Table:
        """Looked up afresh each time: tables may change, and the stand-in has no signal for it.

        Raises:
            Refusal: 404, PGRST205.
        """
        cursor = await connection.execute(_TABLES + " and c.relname = %s", (name,))
        row = await cursor.fetchone()
        if row is None:
            raise pgrst(
                404, "PGRST205", f"Could not find the table 'public.{name}' in the schema cache"
            )
        return Table(row[0], tuple(row[1]), tuple(row[2]), row[3])

    async def function(
        self, connection: AsyncConnection, name: str, given: set[str], *, query: bool
    ) -> Function:
        """The function of that name that takes what is given.

        Args:
            query: whether ``given`` are the names in a query string.

        Raises:
            Refusal: 404, PGRST202.
        """
        for fresh in (False, True):
            if fresh or not self._functions:
                await self._load(connection)
            for function in self._functions:
                fits = function.fits_query if query else function.fits
                if function.name == name and fits(given):
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
            Function(name, tuple(zip(names, types, strict=False)), defaults, *flags)
            for name, names, types, defaults, *flags in await cursor.fetchall()
        ]
