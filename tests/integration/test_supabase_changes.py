"""postgres_changes of the stand-in beyond the recorded session: who sees what, and losses."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.integration.phoenix import Phoenix, phoenix
from tests.services import Project

TABLES = """
drop table if exists public.orders, public.secrets, public.keyless;
create table public.orders (
  id bigint primary key, customer text, total numeric, tags text[], note text);
create table public.secrets (id int primary key, shown text, kept text);
revoke all on public.secrets from anon, authenticated;
grant select (id, shown) on public.secrets to authenticated;
create table public.keyless (n int);
alter publication supabase_realtime add table public.orders, public.secrets;
"""


@pytest.fixture(scope="module")
def tables(project: Project) -> Project:
    project.sql(TABLES)
    return project


@contextlib.asynccontextmanager
async def listening(
    project: Project, *changes: dict[str, Any], token: str | None = None, expected: str = "ok"
) -> AsyncIterator[tuple[Phoenix, str]]:
    """A client that has asked for these changes, and the sentence of the answer."""
    async with phoenix(project) as client:
        config = {"postgres_changes": list(changes)}
        payload = {"config": config, "access_token": token or project.token()}
        answer = await client.reply(await client.push("realtime:c", "phx_join", payload))
        assert answer["status"] == "ok"
        system = (await client.receive())["payload"]
        assert (system["extension"], system["status"]) == ("postgres_changes", expected), system
        yield client, system["message"]


async def change(client: Phoenix) -> dict[str, Any]:
    message = await client.receive()
    assert message["event"] == "postgres_changes", message
    data: dict[str, Any] = message["payload"]["data"]
    return data


def on(table: str, **more: Any) -> dict[str, Any]:
    return {"event": "*", "schema": "public", "table": table, **more}


async def test_filters_are_the_databases(tables: Project) -> None:
    filters = 'total=gt.9.5,customer=in.(ann,"bob, jr"),note=is.null,tags=not.eq.{x}'
    async with listening(tables, on("orders", filter=filters)) as (client, _):
        tables.sql(
            "insert into public.orders values (1, 'ann', 9.5, '{}'), (2, 'eve', 10, '{}'), "
            "(3, 'ann', 10, '{x}'), (4, 'bob, jr', 10.123456789012345678901, '{y}'), "
            "(5, 'ann', 100, '{}')"
        )
        tables.sql("update public.orders set note = '50 %' where id = 5")
        tables.sql("update public.orders set note = null where id = 5")
        changes = [await change(client) for _ in range(3)]
        assert [(c["type"], c["record"]["id"]) for c in changes] == [
            ("INSERT", 4),
            ("INSERT", 5),
            ("UPDATE", 5),
        ]
        # Without the full replica identity the old row is its key.
        assert changes[2]["old_record"] == {"id": 5}
        tables.sql("delete from public.orders where id = 5")
        tables.sql("insert into public.orders values (6, 'ann', 11, '{}')")
        assert (await change(client))["record"]["id"] == 6


async def test_chosen_columns_and_rights_of_columns(tables: Project) -> None:
    async with listening(tables, on("orders", select=["id", "total"], filter="note=like.50%")) as (
        client,
        _,
    ):
        tables.sql(
            "insert into public.orders (id, total, note) values (9, 1, 'x'), (10, 1.50, '50 %')"
        )
        seen = await change(client)
        assert seen["record"] == {"id": 10, "total": 1.5}
        assert [column["name"] for column in seen["columns"]] == ["id", "total"]
    async with listening(tables, on("secrets")) as (client, _):
        tables.sql("insert into public.secrets values (1, 'a', 'b')")
        assert (await change(client))["record"] == {"id": 1, "shown": "a"}
    async with listening(tables, on("secrets"), token=tables.anon_key) as (client, _):
        tables.sql("insert into public.secrets values (2, 'a', 'b')")
        seen = await change(client)
        assert (seen["errors"], seen["record"]) == (["Error 401: Unauthorized"], {})


async def test_a_filter_that_fails_harms_nobody_else(tables: Project) -> None:
    broken = on("orders", filter="customer=match.[")
    async with (
        listening(tables, broken) as (client, _),
        listening(tables, on("orders")) as (
            other,
            _,
        ),
    ):
        tables.sql("insert into public.orders (id, customer) values (15, 'ann')")
        tables.sql("insert into public.orders (id, customer) values (16, 'ann')")
        assert [(await change(other))["record"]["id"] for _ in range(2)] == [15, 16]
        await client.heartbeat()


async def test_large_rows_lose_their_large_values(tables: Project) -> None:
    async with listening(tables, on("orders")) as (client, _):
        tables.sql(
            "insert into public.orders (id, customer, note) select 20, 'ann', "
            "string_agg(md5(n::text), '') from generate_series(1, 60000) n"
        )
        seen = await change(client)
        assert seen["errors"] == ["Error 413: Payload Too Large"]
        assert seen["record"]["customer"] == "ann"
        assert "note" not in seen["record"]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (on("keyless"), "Please check Realtime is enabled"),
        (on("orders", filter="id=eq.x"), "ERROR 22P02 (invalid_text_representation) invalid input"),
        (on("orders", filter="nope=eq.x"), "invalid column for filter nope"),
        (on("secrets", filter="kept=eq.x"), "invalid column for filter kept"),
    ],
)
async def test_what_can_not_be_subscribed(
    tables: Project, asked: dict[str, Any], sentence: str
) -> None:
    async with listening(tables, asked, expected="error") as (_, message):
        assert sentence in message


async def test_a_table_that_left_the_publication_is_silent(tables: Project) -> None:
    async with listening(tables, on("*"), on("orders")) as (client, _):
        tables.sql("alter publication supabase_realtime drop table public.secrets")
        tables.sql("insert into public.secrets values (9)")
        tables.sql("alter publication supabase_realtime add table public.secrets")
        tables.sql("insert into public.secrets values (10)")
        assert (await change(client))["record"]["id"] == 10


async def test_changes_committed_while_replication_is_lost_are_never_sent(
    tables: Project,
) -> None:
    async with listening(tables, on("orders")) as (client, _):
        tables.fault(replication=False)
        try:
            tables.sql("insert into public.orders (id) values (30)")
        finally:
            tables.fault(replication=True)
        await tables.until_healthy()
        tables.sql("insert into public.orders (id) values (31)")
        assert (await change(client))["record"]["id"] == 31
        assert tables.sql("select count(*) from realtime.stand_in_changes") == [(0,)]


async def test_a_new_token_changes_what_is_seen(tables: Project) -> None:
    tables.sql(
        "drop table if exists public.owned; create table public.owned (id int primary key, "
        "owner uuid); alter table public.owned enable row level security; "
        "create policy own on public.owned for select to authenticated using (owner = auth.uid());"
        "alter publication supabase_realtime add table public.owned"
    )
    one, two = (f"{digit * 8}-1111-1111-1111-111111111111" for digit in "12")
    token = tables.token(subject=one)
    async with listening(tables, on("owned"), token=token) as (client, _):
        insert = "insert into public.owned values (%s, %s), (%s, %s)"
        tables.sql(insert, 1, one, 2, two)
        assert (await change(client))["record"]["id"] == 1
        await client.push("realtime:c", "access_token", {"access_token": tables.token(subject=two)})
        await client.heartbeat()
        tables.sql(insert, 3, one, 4, two)
        assert (await change(client))["record"]["id"] == 4
