"""Who may do what: every table and function of the catalog against the rules, per role."""

import re
import uuid

import psycopg
import pytest

from crossfade.adapters.migrations import apply_migrations, find_migrations, revert_migrations
from crossfade.local.supabase.bootstrap import prepare_database
from tests.contract.events import make_event, make_events
from tests.integration.schema.database import Database
from tests.services import ROOT, Postgres

pytestmark = pytest.mark.xdist_group("schema")  # one set of services

ROLES = ("anon", "authenticated", "service_role")
NOBODY: frozenset[str] = frozenset()
SERVER = frozenset({"service_role"})
READERS = frozenset({"authenticated", "service_role"})
# Who may execute what. A function that is missing here fails the tests: say who may call it.
RULES = {
    "public.crossfade_ingest_v1": SERVER,
    "public.crossfade_heads_v1": SERVER,
    "public.crossfade_fill_v1": READERS,
    "public.crossfade_streams_v1": SERVER,
    "public.crossfade_digests_v1": SERVER,
    "public.crossfade_health_v1": SERVER,
    "public.crossfade_facts_v1": SERVER,
    "public.crossfade_retain_v1": SERVER,
    "public.crossfade_forget_canary_v1": SERVER,
    "public.crossfade_extents_v1": SERVER,
    "public.crossfade_changes_v1": SERVER,
    "public.crossfade_scrub_v1": SERVER,
    "public.crossfade_rows_v1": SERVER,
    "public.crossfade_hashes_v1": SERVER,
    "crossfade.content_hash_inline_v1": NOBODY,
    "crossfade.content_hash_v1": NOBODY,
    "crossfade.hash_from_hex_v1": NOBODY,
    "crossfade.live_report_v1": NOBODY,
    "crossfade.log_change_v1": NOBODY,
    "crossfade.may_receive_v1": READERS,
    "crossfade.migration_v1": NOBODY,
    "crossfade.partition_today_v1": NOBODY,
    "crossfade.realtime_missing_v1": NOBODY,
    "crossfade.send_v1": NOBODY,
    "crossfade.unsent_v1": NOBODY,
    "crossfade.wire_v1": NOBODY,
}
OURS = "(n.nspname = 'crossfade' or (n.nspname = 'public' and p.proname like 'crossfade%'))"


def functions(database: Database) -> dict[str, list[str]]:
    """Every function of ours in the catalog, with its arguments' types."""
    rows = database.connection.execute(
        "select n.nspname || '.' || p.proname, array(select format_type(t, null) "
        "from unnest(p.proargtypes) with ordinality as a(t, i) order by i) "
        f"from pg_proc p join pg_namespace n on n.oid = p.pronamespace where {OURS}"
    ).fetchall()
    assert len(rows) == len(dict(rows)), "two functions of one name: rules are by name"
    return dict(rows)


def relations(database: Database, kinds: str) -> list[str]:
    rows = database.connection.execute(
        "select 'crossfade.' || relname from pg_class "
        "where relnamespace = 'crossfade'::regnamespace and relkind::text = any (%s) order by 1",
        (list(kinds),),
    ).fetchall()
    return [name for (name,) in rows]


def test_every_function_has_a_rule_and_every_rule_a_function(database: Database) -> None:
    assert functions(database).keys() == RULES.keys()


def test_the_protocol_page_names_the_functions_of_the_api_and_no_others(
    database: Database,
) -> None:
    page = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(crossfade_\w+)` \|", page, re.MULTILINE)
    api = {name.removeprefix("public.") for name in functions(database) if "public." in name}
    assert len(rows) == len(set(rows))
    assert set(rows) == api


@pytest.mark.parametrize("role", ROLES)
def test_who_may_call_what(database: Database, role: str) -> None:
    for name, types in functions(database).items():
        # Not constants: a strict function of a constant null is never looked at, nor its rights.
        nulls = ", ".join(f"null::{one} as a{i}" for i, one in enumerate(types)) or "1"
        values = ", ".join(f"a{i}" for i in range(len(types)))
        call = f"select {name}({values}) from (select {nulls} offset 0) x"
        allowed = role in RULES.get(name, NOBODY)
        with database.connection.transaction(force_rollback=True):
            database.connection.execute(f"set local role {role}")
            try:
                database.connection.execute(call)
            except psycopg.errors.InsufficientPrivilege:
                assert not allowed, f"{role} may not call {name}"
            except (psycopg.errors.InvalidParameterValue, psycopg.errors.FeatureNotSupported):
                assert allowed, f"{role} got into {name}"  # it minds the null, not the caller
            else:
                assert allowed, f"{role} called {name}"


def test_nothing_is_granted_to_public(database: Database) -> None:
    """What PUBLIC may, a role that is made tomorrow may."""
    found = database.connection.execute(
        "select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace "
        "cross join aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a "
        f"where {OURS} and a.grantee = 0 "
        "union all select c.relname from pg_class c cross join aclexplode(c.relacl) a "
        "where c.relnamespace = 'crossfade'::regnamespace and a.grantee = 0"
    ).fetchall()
    assert found == []


def test_only_calls_of_the_api_run_as_their_owner(database: Database) -> None:
    found = database.connection.execute(
        "select n.nspname || '.' || p.proname from pg_proc p "
        f"join pg_namespace n on n.oid = p.pronamespace where {OURS} and p.prosecdef"
    ).fetchall()
    # A trigger's function is called by nobody.
    mine = {name for name in functions(database) if name.startswith("public.")}
    assert {name for (name,) in found} - {"crossfade.log_change_v1"} == mine


@pytest.mark.parametrize("role", ROLES)
def test_nobody_touches_the_tables(database: Database, role: str) -> None:
    tables = relations(database, "rpvmf")
    assert len(tables) >= 3
    for table in tables:
        statements = {
            "select": f"select * from {table}",
            "insert": f"insert into {table} default values",
            "update": f"update {table} set topic = 'x' where false",
            "delete": f"delete from {table}",
            "truncate": f"truncate {table}",
            "references": f"create temp table t_{role} (like {table})",
            "drop": f"drop table {table}",
        }
        for name, statement in statements.items():
            with database.connection.transaction(force_rollback=True):
                database.connection.execute(f"set local role {role}")
                if (role, name) in (("service_role", "select"), ("service_role", "references")):
                    database.connection.execute(statement)
                else:
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        database.connection.execute(statement)
        granted = database.connection.execute(
            "select p from unnest(array['select', 'insert', 'update', 'delete', 'truncate', "
            "'references', 'trigger']) p where has_table_privilege(%s, %s, p) "
            "or (p in ('select', 'insert', 'update', 'references') "
            "and has_any_column_privilege(%s, %s, p))",
            (role, table, role, table),
        ).fetchall()
        assert granted == ([("select",)] if role == "service_role" else [])
    for sequence in relations(database, "S"):
        row = database.one(
            "select has_sequence_privilege(%s, %s, 'usage, select, update')", role, sequence
        )
        assert row is False, sequence


def test_every_table_has_row_level_security_and_every_function_a_fixed_search_path(
    database: Database,
) -> None:
    assert set(relations(database, "rp")) == {
        f"crossfade.{name}" for name in ("events", "heads", "dead_letters", "changes")
    }
    open_tables = database.connection.execute(
        "select relname from pg_class where relnamespace = 'crossfade'::regnamespace "
        "and relkind in ('r', 'p') and not relrowsecurity"
    ).fetchall()
    assert open_tables == []
    loose = database.connection.execute(
        "select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace "
        # In a body that was parsed when it was made, names are bound: none is looked up.
        f"where {OURS} and p.prosqlbody is null "
        "and not coalesce(p.proconfig, '{}') && array['search_path=\"\"']"
    ).fetchall()
    assert loose == []


def test_a_search_path_of_the_caller_changes_nothing(fresh_database: Database) -> None:
    """A caller who may create objects can not slip one under a function that runs as the owner."""
    connection = fresh_database.connection
    connection.execute(
        "create schema evil; create table evil.events (source text);"
        "create function evil.now() returns timestamptz language sql "
        "as $$ select null::timestamptz $$"
    )
    connection.execute("set search_path = evil, pg_catalog")
    assert fresh_database.ingest(make_events(1, 3))["inserted"] == 3
    assert fresh_database.call("crossfade_health_v1")["events"] == 3


def test_the_facts_tell_what_is_open(fresh_database: Database) -> None:
    connection = fresh_database.connection
    facts = fresh_database.call("crossfade_facts_v1")
    assert (facts["open_tables"], facts["open_functions"], facts["unfixed_functions"]) == (
        [],
        [],
        [],
    )
    assert (facts["realtime_send"], facts["partition_today"], facts["receive_policy"]) == (
        True, True, True,
    )  # fmt: skip
    assert facts["timeouts"] == {
        "anon": "3s", "authenticated": "8s", "authenticator": "8s", "service_role": None,
    }  # fmt: skip
    assert facts["migration"] == find_migrations()[-1].version
    connection.execute(
        "alter table crossfade.heads disable row level security;"
        "alter table realtime.messages disable row level security;"
        "grant execute on function public.crossfade_ingest_v1(json, boolean, integer) to anon;"
        "alter function public.crossfade_heads_v1(json, boolean) reset search_path;"
        "drop policy crossfade_receive on realtime.messages;"
        "drop function realtime.send(jsonb, text, text, boolean)"
    )
    facts = fresh_database.call("crossfade_facts_v1")
    assert facts["open_tables"] == ["crossfade.heads", "realtime.messages"]
    assert facts["open_functions"] == ["anon: crossfade_ingest_v1"]
    assert facts["unfixed_functions"] == ["crossfade_heads_v1"]
    assert (facts["realtime_send"], facts["receive_policy"]) == (False, False)


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
        facts = database.call("crossfade_facts_v1")
        assert (facts["open_tables"], facts["open_functions"], facts["receive_policy"]) == (
            [], [], True,
        )  # fmt: skip
        assert database.call("crossfade_retain_v1", floors=[], before="2020-01-01")["deleted"] == 0
        assert database.call("crossfade_forget_canary_v1") == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            database.call("crossfade_streams_v1", role="authenticated")
    assert revert_migrations(url.replace("postgres@", f"{name}@"))
