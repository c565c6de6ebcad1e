"""Up, again, down; with the Supabase CLI's own history; pasted into a SQL editor."""

import psycopg
import pytest

from crossfade.adapters.migrations import (
    applied_versions,
    apply_migrations,
    as_script,
    find_migrations,
    revert_migrations,
)
from crossfade.errors import StoreRejected
from crossfade.local.supabase.bootstrap import prepare_database
from tests.contract.events import make_event, make_events
from tests.integration.schema.database import Database
from tests.services import Postgres

pytestmark = pytest.mark.xdist_group("schema")  # one set of services

VERSIONS = [migration.version for migration in find_migrations()]
OBJECTS = (
    "select 'function ' || p.oid::regprocedure || ' ' || md5(pg_get_functiondef(p.oid)) "
    "from pg_proc p join pg_namespace n on n.oid = p.pronamespace "
    "where n.nspname = 'crossfade' or p.proname like 'crossfade%' "
    "union all select 'relation ' || oid::regclass from pg_class "
    "where relnamespace = to_regnamespace('crossfade') "
    "union all select 'policy ' || policyname from pg_policies where policyname like 'crossfade%' "
    "union all select 'schema ' || nspname from pg_namespace where nspname = 'crossfade' "
    "order by 1"
)


def objects(database: Database) -> list[str]:
    """Everything of ours in the catalog, functions with what they do."""
    return [name for (name,) in database.connection.execute(OBJECTS).fetchall()]


@pytest.fixture
def empty_project(server: Postgres) -> str:
    """A project without our migrations."""
    url = server.create_database("template1")
    prepare_database(url)
    return url


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


def test_every_migration_has_a_way_down() -> None:
    assert [one.down.name for one in find_migrations() if not one.down.is_file()] == []


def test_down_leaves_nothing_and_up_again_the_same(fresh_database: Database) -> None:
    before = objects(fresh_database)
    assert len(before) > 20
    fresh_database.ingest(make_events(1, 3))
    fresh_database.connection.execute(
        "insert into supabase_migrations.schema_migrations (version) values ('20200101000000')"
    )
    assert revert_migrations(fresh_database.url) == VERSIONS[::-1]
    assert objects(fresh_database) == []
    # Migrations of others are not ours to forget.
    assert applied_versions(fresh_database.url) == ["20200101000000"]
    assert revert_migrations(fresh_database.url) == []
    assert apply_migrations(fresh_database.url) == VERSIONS
    assert objects(fresh_database) == before
    assert fresh_database.ingest([make_event(1)])["inserted"] == 1


def test_down_refuses_to_drop_what_others_built_on_it(fresh_database: Database) -> None:
    before = objects(fresh_database)
    fresh_database.connection.execute("create view public.mine as select id from crossfade.events")
    with pytest.raises(StoreRejected, match=r"down/\d+_create_events\.sql: cannot drop table"):
        revert_migrations(fresh_database.url)
    assert objects(fresh_database) == before
    assert applied_versions(fresh_database.url) == VERSIONS


def test_pasted_into_an_editor_it_is_the_same(empty_project: str, fresh_database: Database) -> None:
    script = as_script()
    with psycopg.connect(empty_project, autocommit=True) as connection:
        connection.execute(script.encode())
        connection.execute(script.encode())  # again is harmless
    assert applied_versions(empty_project) == VERSIONS
    assert apply_migrations(empty_project) == []
    with Database(empty_project) as pasted:
        assert objects(pasted) == objects(fresh_database)
        stored = pasted.connection.execute(
            "select version, name, statements from supabase_migrations.schema_migrations order by 1"
        ).fetchall()
    assert stored == [
        (one.version, one.name, [one.path.read_text(encoding="utf-8").strip()])
        for one in find_migrations()
    ]


def test_it_goes_on_where_the_supabase_cli_stopped(empty_project: str) -> None:
    """The table as older versions of the CLI made it, with two files applied by `db push`."""
    with psycopg.connect(empty_project, autocommit=True) as connection:
        connection.execute(
            "create schema supabase_migrations;"
            "create table supabase_migrations.schema_migrations (version text primary key)"
        )
        for one in find_migrations()[:2]:
            connection.execute(one.path.read_bytes())
            connection.execute(
                "insert into supabase_migrations.schema_migrations values (%s)", (one.version,)
            )
    assert apply_migrations(empty_project) == VERSIONS[2:]
    assert applied_versions(empty_project) == VERSIONS
