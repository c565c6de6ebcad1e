"""Who may do what, and that applying the migrations again changes nothing."""

import psycopg
import pytest

from crossfade.local.migrations import applied_versions, apply_migrations, find_migrations
from tests.contract.events import make_event, make_events
from tests.integration.schema.database import Database

CALLS = {
    "crossfade_ingest_v1": "'[]'",
    "crossfade_heads_v1": "'[]'",
    "crossfade_fill_v1": "'a', 1, 'b', 0, 1, 2",
    "crossfade_streams_v1": "",
    "crossfade_digests_v1": "'[]', 256",
    "crossfade_health_v1": "",
}


@pytest.mark.parametrize("function", sorted(CALLS))
@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
def test_who_may_call_what(database: Database, role: str, function: str) -> None:
    allowed = role == "service_role" or (role == "authenticated" and "fill" in function)
    with database.connection.transaction(force_rollback=True):
        database.connection.execute(f"set local role {role}")
        if allowed:
            database.connection.execute(f"select public.{function}({CALLS[function]})")
        else:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                database.connection.execute(f"select public.{function}({CALLS[function]})")


@pytest.mark.parametrize("table", ["events", "heads", "dead_letters"])
@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
def test_nobody_touches_the_tables(database: Database, role: str, table: str) -> None:
    statements = {
        "select": f"select * from crossfade.{table}",
        "insert": f"insert into crossfade.{table} default values",
        "update": f"update crossfade.{table} set topic = 'x'",
        "delete": f"delete from crossfade.{table}",
        "truncate": f"truncate crossfade.{table}",
    }
    for name, statement in statements.items():
        with database.connection.transaction(force_rollback=True):
            database.connection.execute(f"set local role {role}")
            if (role, name) == ("service_role", "select"):
                database.connection.execute(statement)
            else:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    database.connection.execute(statement)


def test_every_table_has_row_level_security_and_every_function_a_fixed_search_path(
    database: Database,
) -> None:
    open_tables = database.connection.execute(
        "select relname from pg_class where relnamespace = 'crossfade'::regnamespace "
        "and relkind = 'r' and not relrowsecurity"
    ).fetchall()
    assert open_tables == []
    functions = database.connection.execute(
        "select proname, proconfig from pg_proc where pronamespace in "
        "('crossfade'::regnamespace, 'public'::regnamespace)"
    ).fetchall()
    assert len(functions) >= 14
    assert [name for name, config in functions if 'search_path=""' not in (config or [])] == []


def test_nobody_calls_the_inner_functions(database: Database) -> None:
    found = database.connection.execute(
        "select p.proname, r.rolname from pg_proc p cross join pg_roles r "
        "where p.pronamespace = 'crossfade'::regnamespace "
        "and r.rolname in ('anon', 'authenticated') "
        "and has_function_privilege(r.oid, p.oid, 'execute')"
    ).fetchall()
    assert found == [("may_receive_v1", "authenticated")]


def test_the_hook_decides_what_authenticated_may_fill(fresh_database: Database) -> None:
    fresh_database.ingest([make_event(1)], live=False)
    fresh_database.connection.execute(
        "create or replace function crossfade.may_receive_v1(topic text) returns boolean "
        "language sql stable set search_path = '' as $$ select topic <> 'critical' $$"
    )
    arguments = {"source": "app", "epoch": 1, "partition": 0, "first": 1, "last": 1}
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="'critical' may not"):
        fresh_database.call(
            "crossfade_fill_v1", role="authenticated", topic="critical", **arguments
        )
    assert fresh_database.call(
        "crossfade_fill_v1", role="authenticated", topic="debug", **arguments
    )
    # The migrations keep it.
    apply_migrations(fresh_database.url, again=True)
    assert fresh_database.one("select crossfade.may_receive_v1('critical')") is False


def test_migrations_are_recorded_and_harmless_again(fresh_database: Database) -> None:
    versions = [migration.version for migration in find_migrations()]
    assert applied_versions(fresh_database.url) == versions
    assert fresh_database.call("crossfade_health_v1")["migration"] == versions[-1]
    fresh_database.ingest(make_events(1, 3))
    assert apply_migrations(fresh_database.url) == []
    assert apply_migrations(fresh_database.url, again=True) == versions
    assert fresh_database.ingest(make_events(1, 4))["skipped"] == 3
