"""Who may do what, and that applying the migrations again changes nothing."""

import uuid

import psycopg
import pytest

from crossfade.local.migrations import applied_versions, apply_migrations, find_migrations
from crossfade.local.supabase.bootstrap import prepare_database
from tests.contract.events import make_event, make_events
from tests.integration.schema.database import Database
from tests.services import Postgres

pytestmark = pytest.mark.xdist_group("schema")  # one set of services

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
    # The server's key reads everything; the migrations keep the hook.
    assert fresh_database.call(
        "crossfade_fill_v1", topic="critical", **{**arguments, "role": "service_role"}
    )["events"]
    apply_migrations(fresh_database.url, again=True)
    assert fresh_database.one("select crossfade.may_receive_v1('critical')") is False


def test_migrations_are_recorded_and_harmless_again(fresh_database: Database) -> None:
    versions = [migration.version for migration in find_migrations()]
    assert applied_versions(fresh_database.url) == versions
    assert fresh_database.call("crossfade_health_v1")["migration"] == versions[-1]
    fresh_database.ingest(make_events(1, 3))
    assert apply_migrations(fresh_database.url) == []
    assert apply_migrations(fresh_database.url, again=True) == versions
    assert fresh_database.call(
        "crossfade_fill_v1", role="authenticated", source="app", epoch=1, topic="critical",
        partition=0, first=1, last=9,
    )["head"] == 3  # fmt: skip
    assert fresh_database.ingest(make_events(1, 4))["skipped"] == 3


def test_an_owner_without_superpowers_suffices(server: Postgres) -> None:
    """A hosted project's `postgres` is no superuser: it bypasses row level security, may use
    the realtime schema and make policies on its table."""
    url = server.create_database("template1")
    prepare_database(url)
    name = f"owner_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"create role {name} login bypassrls in role supabase_realtime_admin")
        connection.execute(f"grant create on database {connection.info.dbname} to {name}")
        connection.execute(f"grant all on schema public to {name}")
        connection.execute(f"grant usage on schema realtime to {name}")
        connection.execute(
            f"alter default privileges for role {name} in schema public "
            "grant all on functions to anon, authenticated, service_role"
        )
    assert apply_migrations(url.replace("postgres@", f"{name}@"))
    with Database(url) as database:
        owner = "select pg_get_userbyid(proowner) from pg_proc where proname = %s"
        assert database.one(owner, "crossfade_ingest_v1") == name
        answer = database.ingest(make_events(1, 3))
        assert (answer["inserted"], answer["frames"], answer["warnings"]) == (3, 1, [])
        assert database.call("crossfade_heads_v1", heads=[["app", 1, "critical", 0, 3, 1]])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            database.call("crossfade_streams_v1", role="authenticated")
