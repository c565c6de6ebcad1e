"""Makes an empty PostgreSQL look like a Supabase project's database."""

from pathlib import Path

import psycopg

from crossfade.errors import StackError

__all__ = ["prepare_database"]

_SCRIPTS = [Path(__file__).with_name(name) for name in ("bootstrap.sql", "changes.sql")]
# Two processes that prepare the same database take turns.
_LOCK = 0x626F6F74


def prepare_database(database_url: str, *, timeout_s: float = 30.0) -> None:
    """Create roles, auth helpers and Realtime's schema; harmless when done already.

    Args:
        database_url: a superuser of the embedded database. Never a real project's.

    Raises:
        StackError: it can not be reached, or is a real project's database.
    """
    try:
        with psycopg.connect(
            database_url,
            autocommit=True,
            connect_timeout=max(1, round(timeout_s)),
            application_name="crossfade bootstrap",
        ) as connection:
            connection.execute("select pg_advisory_lock(%s)", (_LOCK,))
            if _is_real(connection):
                raise StackError(
                    "this database belongs to a real Supabase project; the stand-in only works on "
                    "the embedded one"
                )
            with connection.transaction():
                for script in _SCRIPTS:
                    connection.execute(script.read_bytes())
    except psycopg.Error as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise StackError(f"the embedded database can not be prepared: {first}") from error


def _is_real(connection: psycopg.Connection) -> bool:
    """Realtime's own migration table marks a database that a real server works on."""
    row = connection.execute("select to_regclass('realtime.schema_migrations')").fetchone()
    return row is not None and row[0] is not None
