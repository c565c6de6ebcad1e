import psycopg
import pytest

from crossfade.local.supabase.database import DatabaseGone, NoConnectionFree
from crossfade.local.supabase.gateway import Refusal
from crossfade.local.supabase.rest_errors import refusal
from crossfade.local.supabase.rest_select import build_select


def sql(query: list[tuple[str, str]]) -> str:
    return build_select("t", query, 1_000)[0].as_string()


def test_a_select_is_cut_at_the_limit() -> None:
    assert 'from public."t" limit 1000 offset 0' in sql([])
    assert "limit 1000 offset 7" in sql([("limit", "5000"), ("offset", "7")])
    assert "limit 3 " in sql([("limit", "3")])


def test_filters_and_order() -> None:
    text = sql(
        [
            ("select", "a,b"),
            ("a", "eq.1'; drop table t; --"),
            ("b", "in.(x,y)"),
            ("c", "is.null"),
            ("order", "a.desc.nullslast,b"),
            ("apikey", "k"),
        ]
    )
    assert (
        'select "a", "b" from public."t" where "a" = \'1\'\'; drop table t; --\' '
        "and \"b\" in ('x', 'y') and \"c\" is null "
        'order by "a" desc nulls last, "b" asc' in text
    )


@pytest.mark.parametrize(
    "pair",
    [
        ("a", "like.x"),
        ("or", "(a.eq.1,b.eq.2)"),
        ("select", "a,b(*)"),
        ("select", "count()"),
        ("order", "a.sideways"),
        ("a", "is.sometimes"),
        ("a", "in.x"),
    ],
)
def test_what_the_real_one_knows_more_is_501(pair: tuple[str, str]) -> None:
    with pytest.raises(Refusal) as raised:
        sql([pair])
    assert raised.value.status == 501


@pytest.mark.parametrize("pair", [("limit", "x"), ("offset", "-1")])
def test_nonsense_is_400(pair: tuple[str, str]) -> None:
    with pytest.raises(Refusal) as raised:
        sql([pair])
    assert (raised.value.status, raised.value.body["code"]) == (400, "PGRST100")


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
