"""Applies ``supabase/migrations`` to a database, as ``supabase db push`` does, and takes it back.

Applied versions are kept where the Supabase CLI keeps them
(``supabase_migrations.schema_migrations``), so that either tool goes on where the other
stopped. Every migration is harmless when applied again. The scripts that undo them are in
``supabase/down``, under the same names (in a folder of their own: the CLI takes every file of
``migrations`` for one to apply).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg

from crossfade.errors import StackError, StoreRejected, StoreUnavailable

__all__ = [
    "Migration",
    "applied_versions",
    "apply_migrations",
    "as_script",
    "find_migrations",
    "migrations_folder",
    "revert_migrations",
]

_NAME = re.compile(r"(\d{14})_([a-z0-9_]+)\.sql\Z")
# One number for everybody who migrates this schema, so that two of them take turns.
_LOCK = 0x63726F737366
_TABLE = """
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (
  version text not null primary key, statements text[], name text
);
-- Older versions of the Supabase CLI made it with the first column only.
alter table supabase_migrations.schema_migrations add column if not exists statements text[];
alter table supabase_migrations.schema_migrations add column if not exists name text;
"""
_RECORD = (
    "insert into supabase_migrations.schema_migrations (version, statements, name) "
    "values (%s, %s, %s) on conflict (version) do nothing"
)


class Migration(NamedTuple):
    """One file of ``supabase/migrations``."""

    version: str
    name: str
    path: Path

    @property
    def down(self) -> Path:
        """The script that undoes it."""
        return self.path.parent.parent / "down" / self.path.name


def migrations_folder() -> Path:
    """The migrations of a checkout, or those that the wheel carries.

    Raises:
        StackError: neither is there: the installation is incomplete.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (
        package.parent / "supabase" / "migrations",
        package / "_bundle" / "supabase" / "migrations",
    ):
        if any(folder.glob("*.sql")):
            return folder
    raise StackError("supabase/migrations is missing from this installation; install it anew")


def find_migrations(folder: Path | None = None) -> list[Migration]:
    """The migrations in ``folder`` (default: our own), in their order.

    Raises:
        StackError: a file is not named ``<14 digits>_<verb>_<noun>.sql``.
    """
    found = []
    for path in sorted((folder or migrations_folder()).glob("*.sql")):
        match = _NAME.match(path.name)
        if match is None:
            raise StackError(f"{path.name}: a migration is named <14 digits>_<verb>_<noun>.sql")
        found.append(Migration(match[1], match[2], path))
    return found


def as_script(folder: Path | None = None) -> str:
    """All migrations as one text for a SQL editor: one transaction, recorded like any other."""
    parts = ["begin;", _TABLE.strip()]
    for one in find_migrations(folder):
        text = one.path.read_text(encoding="utf-8").strip()
        tag = f"$crossfade_{one.version}$"
        parts.append(f"-- {one.path.name}\n{text}")
        parts.append(
            "insert into supabase_migrations.schema_migrations (version, statements, name)\n"
            f"values ('{one.version}', array[{tag}{text}{tag}], '{one.name}')\n"
            "on conflict (version) do nothing;"
        )
    return "\n\n".join([*parts, "commit;", ""])


def applied_versions(database_url: str, *, timeout_s: float = 10.0) -> list[str]:
    """The versions that the database says it has, in order; other people's are among them.

    Raises:
        StoreUnavailable: it can not be reached, or does not answer in time.
        StoreRejected: the URL is not understood, or the role may not read the table.
    """
    with _working(database_url, timeout_s, "reading the versions") as connection:
        row = connection.execute(
            "select to_regclass('supabase_migrations.schema_migrations')"
        ).fetchone()
        if row is None or row[0] is None:
            return []
        rows = connection.execute(
            "select version from supabase_migrations.schema_migrations order by version"
        )
        return [str(version) for (version,) in rows.fetchall()]


def apply_migrations(
    database_url: str,
    folder: Path | None = None,
    *,
    again: bool = False,
    timeout_s: float = 60.0,
) -> list[str]:
    """Apply what the database does not have yet; each file is one transaction.

    Args:
        database_url: a role that may create schemas (``postgres`` on a Supabase project).
        again: apply every file, those that are there too.
        timeout_s: longest wait for the connection and for each statement.

    Returns:
        The versions that were applied now.

    Raises:
        StoreUnavailable: the database can not be reached or did not answer in time.
        StoreRejected: a file failed; the message names it and the error, and nothing of it
            is left. Earlier files stay applied.
    """
    applied = []
    with _working(database_url, timeout_s, "migrating", lock=True) as connection:
        connection.execute(_TABLE)
        rows = connection.execute("select version from supabase_migrations.schema_migrations")
        known = {str(version) for (version,) in rows.fetchall()}
        for migration in find_migrations(folder):
            if again or migration.version not in known:
                text = migration.path.read_text(encoding="utf-8")
                with _translated(migration.path.name), connection.transaction():
                    connection.execute(text.encode())
                    connection.execute(_RECORD, (migration.version, [text], migration.name))
                applied.append(migration.version)
    return applied


def revert_migrations(
    database_url: str, folder: Path | None = None, *, timeout_s: float = 60.0
) -> list[str]:
    """Undo every migration of ``folder``, the last one first, in one transaction.

    Every event, head and dead letter is gone with it. Nothing of others is dropped: what
    depends on our tables (a view, say) makes it fail.

    Returns:
        The versions that were recorded as applied and are no longer, the last one first.

    Raises:
        StoreUnavailable, StoreRejected: as ``apply_migrations``; everything is as it was.
    """
    ours = find_migrations(folder)[::-1]
    with (
        _working(database_url, timeout_s, "reverting", lock=True) as connection,
        connection.transaction(),
    ):
        connection.execute(_TABLE)
        for migration in ours:
            with _translated(f"down/{migration.path.name}"):
                connection.execute(migration.down.read_bytes())
        rows = connection.execute(
            "delete from supabase_migrations.schema_migrations where version = any(%s) "
            "returning version",
            ([migration.version for migration in ours],),
        )
        return sorted((str(version) for (version,) in rows.fetchall()), reverse=True)


@contextmanager
def _working(
    database_url: str, timeout_s: float, what: str, *, lock: bool = False
) -> Iterator[psycopg.Connection]:
    """A connection whose statements end in time; with ``lock`` the only one that migrates."""
    with _translated(what), _connect(database_url, timeout_s) as connection:
        connection.execute(
            "select set_config('statement_timeout', %s, false)", (f"{timeout_s * 1000:.0f}",)
        )
        if lock:
            # Held until the connection ends.
            connection.execute("select pg_advisory_lock(%s)", (_LOCK,))
        yield connection


def _connect(database_url: str, timeout_s: float) -> psycopg.Connection:
    try:
        return psycopg.connect(
            database_url,
            autocommit=True,
            connect_timeout=max(1, round(timeout_s)),
            application_name="crossfade migrate",
        )
    except psycopg.OperationalError as error:
        raise StoreUnavailable(f"the database can not be reached: {_first_line(error)}") from None
    except psycopg.Error as error:
        raise StoreRejected(
            f"the database's URL is not understood: {type(error).__name__}"
        ) from None


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except (psycopg.errors.QueryCanceled, psycopg.OperationalError) as error:
        raise StoreUnavailable(f"{what}: {_first_line(error)}") from error
    except psycopg.Error as error:
        raise StoreRejected(f"{what}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
