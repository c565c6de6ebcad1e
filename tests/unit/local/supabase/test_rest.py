import psycopg
import pytest

from crossfade.local.supabase.database import DatabaseGone, NoConnectionFree
from crossfade.local.supabase.rest_errors import refusal


@pytest.mark.parametrize(
    ("error", "role", "status", "code"),
    [
        (psycopg.errors.InsufficientPrivilege(), "anon", 401, "42501"),
        (psycopg.errors.InsufficientPrivilege(), "authenticated", 403, "42501"),
        (psycopg.errors.UniqueViolation(), "anon", 409, "23505"),
        (psycopg.errors.NotNullViolation(), "anon", 400, "23502"),
        (psycopg.errors.ReadOnlySqlTransaction(), "anon", 405, "25006"),
        (psycopg.errors.QueryCanceled(), "anon", 500, "57014"),
        (psycopg.errors.TooManyConnections(), "anon", 503, "53300"),
        (psycopg.errors.UndefinedTable(), "anon", 404, "42P01"),
        (psycopg.OperationalError("gone"), "anon", 503, "PGRST000"),
        (DatabaseGone(), "anon", 503, "PGRST000"),
        (NoConnectionFree(), "anon", 504, "PGRST003"),
        (ValueError("a secret"), "anon", 500, "PGRSTX00"),
    ],
)
def test_errors_of_the_database(error: Exception, role: str, status: int, code: str) -> None:
    answer = refusal(error, role)
    assert (answer.status, answer.body["code"]) == (status, code)
    assert "secret" not in str(answer.body)
