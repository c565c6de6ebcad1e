"""Applies ``supabase/migrations`` to a database, as ``supabase db push`` does.

Applied versions are kept where the Supabase CLI keeps them
(``supabase_migrations.schema_migrations``), so that either tool goes on where the other
stopped. Every migration is harmless when applied again.
"""

import re
from pathlib import Path
from typing import NamedTuple

import psycopg

from crossfade.errors import StackError, StoreRejected, StoreUnavailable

__all__ = [
    "Migration",
    "applied_versions",
    "apply_migrations",
    "find_migrations",
    "migrations_folder",
]

_NAME = re.compile(r"(\d{14})_([a-z0-9_]+)\.sql\Z")
# One number for everybody who migrates this schema, so that two of them take turns.
_LOCK = 0x63726F737366
_TABLE = """
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (
  version text not null primary key, statements text[], name text
);
"""


class Migration(NamedTuple):
    """One file of ``supabase/migrations``."""

    version: str
    name: str
    path: Path


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


def applied_versions(database_url: str, *, timeout_s: float = 10.0) -> list[str]:
    """The versions that the database says it has, in order.

    Raises:
        StoreUnavailable: it can not be reached.
    """
    with _connect(database_url, timeout_s) as connection:
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
    with _connect(database_url, timeout_s) as connection:
        connection.execute(
            "select set_config('statement_timeout', %s, false)", (f"{timeout_s * 1000:.0f}",)
        )
        # Held until the connection ends.
        connection.execute("select pg_advisory_lock(%s)", (_LOCK,))
        connection.execute(_TABLE)
        rows = connection.execute("select version from supabase_migrations.schema_migrations")
        known = {str(version) for (version,) in rows.fetchall()}
        for migration in find_migrations(folder):
            if again or migration.version not in known:
                _apply(connection, migration)
                applied.append(migration.version)
    return applied


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


def _apply(connection: psycopg.Connection, migration: Migration) -> None:
    text = migration.path.read_text(encoding="utf-8")
    try:
        with connection.transaction():
            connection.execute(text.encode())
            connection.execute(
                "insert into supabase_migrations.schema_migrations (version, statements, name) "
                "values (%s, %s, %s) on conflict (version) do nothing",
                (migration.version, [text], migration.name),
            )
    except (psycopg.errors.QueryCanceled, psycopg.errors.ConnectionException) as error:
        raise StoreUnavailable(f"{migration.path.name}: {_first_line(error)}") from error
    except psycopg.Error as error:
        raise StoreRejected(f"{migration.path.name}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
