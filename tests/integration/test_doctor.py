"""Every check of the doctor is green on a sound project and red when just its thing is broken."""

import asyncio
import json
import shutil
import socket
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crossfade import canary
from crossfade.adapters.clock import SystemClock
from crossfade.adapters.journal_schema import create
from crossfade.adapters.migrations import apply_migrations
from crossfade.core.finding import Finding, Level, exit_status
from crossfade.core.plans import Traffic, plan_named
from crossfade.doctor import CHECKS, Examination, examine
from crossfade.settings import Settings
from tests.services import Postgres, Project, running_project

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase"), pytest.mark.timeout(150)]

SUPABASE = ("keys", "project", "anon", "canary")
INGEST = "public.crossfade_ingest_v1(json, boolean, integer)"
TRACES = (
    "select (select count(*) from crossfade.events where source = 'crossfade-doctor') + "
    "(select count(*) from crossfade.heads where source = 'crossfade-doctor') + "
    "(select count(*) from crossfade.dead_letters where source = 'crossfade-doctor')"
)
TODAY = (
    "select c.oid::regclass::text, pg_get_expr(c.relpartbound, c.oid) from pg_inherits i "
    "join pg_class c on c.oid = i.inhrelid where i.inhparent = 'realtime.messages'::regclass "
    "and pg_get_expr(c.relpartbound, c.oid) like '%FROM (''' || (now() at time zone 'UTC')::date "
    "|| '%'"
)


@pytest.fixture(scope="module")
def module_project(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    with running_project(tmp_path_factory.mktemp("doctor"), postgres.create_database()) as made:
        yield made


@pytest.fixture
def sound(module_project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A sound project; whatever a test breaks in its database is mended."""
    monkeypatch.setattr(canary, "ARRIVE_S", 0.5)
    monkeypatch.setattr(canary, "SENDS", 2)
    yield module_project
    apply_migrations(module_project.database_url, again=True)


def settings_of(project: Project, **sections: Any) -> Settings:
    base = project.settings().model_dump(mode="python", exclude_unset=True)
    return Settings.model_validate({**base, **sections})


async def lines(
    project: Project, *names: str, settings: Settings | None = None, **options: Any
) -> dict[str, Finding]:
    what = Examination(settings=settings or settings_of(project), count_rows=False, **options)
    return {one.name: one for one in await examine(what, names or SUPABASE)}


def reds(found: dict[str, Finding]) -> set[str]:
    return {name for name, one in found.items() if one.level is Level.RED}


async def test_a_sound_project_is_green_and_keeps_no_trace(sound: Project) -> None:
    what = Examination(settings=settings_of(sound))
    found = await examine(what, SUPABASE)
    assert [one.name for one in found] == [
        "service_role_key", "anon_key", "access_token", "supabase", "migrations",
        "row_level_security", "functions", "realtime_send", "private_channels",
        "partition_today", "statement_timeout", "clock", "anon", "realtime", "canary", "row_limit",
    ]  # fmt: skip
    assert {one.level for one in found} == {Level.GREEN}, found
    assert exit_status(found) == 0
    by_name = {one.name: one for one in found}
    assert 0 < (by_name["canary"].value or 0) < 30_000
    assert by_name["row_limit"].value == 1_001
    assert sound.sql(TRACES) == [(0,)]
    if sound.sql("select to_regclass('crossfade.changes') is not null") == [(True,)]:
        assert sound.sql("select count(*) from crossfade.changes") == [(0,)]


@pytest.mark.parametrize(
    ("broken", "mended", "expected"),
    [
        (
            "alter table crossfade.events disable row level security",
            "alter table crossfade.events enable row level security",
            {"row_level_security"},
        ),
        (
            "alter table realtime.messages disable row level security",
            "alter table realtime.messages enable row level security",
            {"row_level_security"},
        ),
        (f"grant execute on function {INGEST} to anon", "", {"functions"}),
        (f"alter function {INGEST} reset search_path", "", {"functions"}),
        ("drop policy crossfade_receive on realtime.messages", "", {"private_channels"}),
        (
            "alter function realtime.send(jsonb, text, text, boolean) rename to gone",
            "alter function realtime.gone(jsonb, text, text, boolean) rename to send",
            {"realtime_send", "canary"},
        ),
        (
            "create or replace function crossfade.migration_v1() returns text language sql "
            "immutable set search_path = '' as $$ select '20200101000000' $$",
            "",
            {"migrations"},
        ),
        ("drop function public.crossfade_facts_v1()", "", {"migrations"}),
        (
            "do $$ begin execute format('alter role service_role in database %I "
            "set statement_timeout = ''900ms''', current_database()); end $$",
            "do $$ begin execute format('alter role service_role in database %I "
            "reset statement_timeout', current_database()); end $$",
            {"statement_timeout"},
        ),
    ],
)  # fmt: skip
async def test_broken_in_the_database(
    sound: Project, broken: str, mended: str, expected: set[str]
) -> None:
    sound.sql(broken)
    try:
        found = await lines(sound)
    finally:
        if mended:
            sound.sql(mended)
    assert reds(found) == expected, found
    assert exit_status(found.values()) == 1
    assert all(found[name].action for name in expected)
    assert sound.sql(TRACES) == [(0,)]


async def test_without_the_schema_nothing_is_said_against_the_keys(sound: Project) -> None:
    sound.sql(
        "drop function crossfade_fill_v1(text, bigint, text, integer, bigint, bigint, integer)"
    )
    anon = (await lines(sound, "anon"))["anon"]
    assert anon.level is Level.RED
    assert "crossfade supabase migrate" in anon.action


async def test_no_partition_for_today(sound: Project) -> None:
    ((name, bound),) = sound.sql(TODAY)
    sound.sql(f"alter table realtime.messages detach partition {name}")
    try:
        found = await lines(sound)
    finally:
        sound.sql(f"alter table realtime.messages attach partition {name} {bound}")
    # Realtime itself can not look whether somebody may join.
    assert reds(found) == {"partition_today", "realtime", "canary"}
    assert "no partition for today" in found["canary"].detail


async def test_an_answer_that_is_cut(sound: Project) -> None:
    sound.sql(
        "create or replace function public.crossfade_digests_v1(ranges json, block integer) "
        "returns json language sql security definer set search_path = '' "
        "as $$ select json_agg(n) from generate_series(1, 1000) n $$"
    )
    found = {
        one.name: one for one in await examine(Examination(settings=settings_of(sound)), ["canary"])
    }
    assert reds(found) == {"row_limit"}
    assert found["row_limit"].detail == "1,000 of 1,001 rows came back"


async def test_anybody_may_read(sound: Project) -> None:
    fill = "public.crossfade_fill_v1(text, bigint, text, integer, bigint, bigint, integer)"
    sound.sql(f"grant execute on function {fill} to anon; grant usage on schema crossfade to anon;"
              "grant execute on function crossfade.may_receive_v1(text) to anon")  # fmt: skip
    try:
        found = await lines(sound, "anon", "project")
    finally:
        sound.sql("revoke usage on schema crossfade from anon")
    assert found["anon"].level is Level.AMBER
    assert reds(found) == set(), "a choice that somebody made is no fault"


@pytest.mark.parametrize("fault", [{"drop_live": True}, {"replication": False}])
async def test_frames_that_do_not_arrive(sound: Project, fault: dict[str, bool]) -> None:
    await asyncio.to_thread(sound.fault, **fault)
    try:
        found = await lines(sound)
    finally:
        await asyncio.to_thread(sound.fault, **{name: not on for name, on in fault.items()})
    assert reds(found) == {"canary"}
    assert "none arrived live" in found["canary"].detail


async def test_a_project_that_is_down(sound: Project) -> None:
    await asyncio.to_thread(sound.fault, refuse=True)
    try:
        found = await lines(sound)
    finally:
        await asyncio.to_thread(sound.fault, refuse=False)
    assert reds(found) == {"supabase", "anon", "realtime", "canary"}
    assert "503" in found["supabase"].detail


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"service_role_key": "anon"}, {"service_role_key", "supabase", "realtime", "canary"}),
        ({"anon_key": "service"}, {"anon_key"}),
        ({"anon_key": "other"}, {"anon"}),
        ({"service_role_key": "expired"}, {"service_role_key", "supabase", "canary", "realtime"}),
        ({"anon_key": ""}, {"anon_key", "anon"}),
        ({"url": ""}, {"supabase", "anon", "realtime", "canary"}),
    ],
)
async def test_wrong_keys(sound: Project, keys: dict[str, str], expected: set[str]) -> None:
    known = {
        "anon": sound.anon_key,
        "service": sound.service_role_key,
        "other": sound.token("anon"),
        "expired": sound.token("service_role", lifetime_s=-9),
        "": "",
    }
    section = settings_of(sound).supabase.model_dump(mode="python")
    section |= {name: known[value] for name, value in keys.items()}
    found = await lines(sound, settings=settings_of(sound, supabase=section))
    assert reds(found) >= expected - {"realtime"}, found
    assert reds(found) <= expected | {"realtime"}
    told = json.dumps([one.to_json() for one in found.values()])
    for secret in (*known.values(), sound.jwt_secret):
        assert not secret or secret not in told


async def test_a_clock_that_is_wrong(sound: Project) -> None:
    class Late(SystemClock):
        def now_us(self) -> int:
            return super().now_us() + 40_000_000

    found = await lines(sound, "project", clock=Late())
    assert reds(found) == {"clock"}
    assert 35_000 < (found["clock"].value or 0) < 45_000


async def test_the_quota(sound: Project) -> None:
    traffic = Traffic(topics=[10], subscribers=19)
    found = await lines(sound, "quota", plan=plan_named("free"), traffic=traffic)
    assert reds(found) == {"quota"}
    assert "exceeded from 41 %" in found["quota"].detail
    found = await lines(sound, "quota", plan=plan_named("pro"), traffic=traffic)
    assert reds(found) == set()
    for relay, expected in (
        ({"plan": "free"}, {"quota"}),
        ({"plan": "free", "messages_per_s": 220}, set()),
        ({"messages_per_s": 219}, {"quota"}),
    ):
        chosen = settings_of(sound, relay=relay)
        assert reds(await lines(sound, "quota", settings=chosen, traffic=traffic)) == expected
    relay = {"frame_limit_bytes": 300_000}
    found = await lines(
        sound, "quota", settings=settings_of(sound, relay=relay), plan=plan_named("free"),
        traffic=Traffic(topics=[1], subscribers=1),
    )  # fmt: skip
    assert reds(found) == {"frame_limit"}


# -- this machine ------------------------------------------------------------------------------


@asynccontextmanager
async def web(answer: Callable[[str, str], int]) -> AsyncIterator[str]:
    """A server that answers ``{}`` with the status that ``answer(path, bearer)`` says."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ", 2)[1]
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        await reader.readexactly(int(fields.get("content-length", 0)))
        status = answer(path, fields.get("authorization", ""))
        body = b'{"error": "no", "instances": []}'
        writer.write(
            f"HTTP/1.1 {status} x\r\ncontent-type: application/json\r\n"
            f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def local(name: str, **sections: Any) -> Finding:
    what = Examination(settings=Settings.model_validate(sections))
    (found,) = await examine(what, [name])
    return found


async def test_the_control_server() -> None:
    token = {"operator_token": "op-secret"}
    async with web(lambda _, bearer: 200 if bearer == "bearer op-secret" else 401) as url:
        assert (await local("control", control={"url": url, **token})).level is Level.GREEN
        wrong = await local("control", control={"url": url, "operator_token": "other-secret"})
        assert wrong.level is Level.RED
        assert "other-secret" not in str(wrong)
    async with web(lambda *_: 200) as url:
        opened = await local("control", control={"url": url, **token})
        assert (opened.level, "lets anybody in" in opened.detail) == (Level.RED, True)
    assert (await local("control", control={"url": url, **token})).level is Level.RED, "gone"


async def test_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await local("prefect")).level is Level.RED
    async with web(lambda path, _: 200 if path.endswith("health") else 401) as url:
        assert (await local("prefect", prefect={"api_url": f"{url}/api"})).level is Level.GREEN
    async with web(lambda *_: 200) as url:
        opened = await local("prefect", prefect={"api_url": f"{url}/api"})
        assert opened.level is Level.AMBER
        assert "PREFECT_SERVER_API_AUTH_STRING" in opened.action
        monkeypatch.setattr("crossfade.doctor._LOOPBACK", ())
        assert (await local("prefect", prefect={"api_url": f"{url}/api"})).level is Level.RED
    assert (await local("prefect", prefect={"api_url": f"{url}/api"})).level is Level.RED, "gone"


async def test_hub_journal_and_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with web(lambda *_: 200) as url:
        place = {"url": url.replace("http", "ws")}
        assert (await local("websocket", websocket=place)).level is Level.GREEN
    assert (await local("websocket", websocket=place)).level is Level.RED
    journal = {"path": tmp_path / "journal.db"}
    assert (await local("journal", journal=journal)).level is Level.RED
    with closing(sqlite3.connect(tmp_path / "journal.db")) as connection:
        create(connection)
        connection.commit()
    assert (await local("journal", journal=journal)).level is Level.GREEN
    journal = {"path": tmp_path / "not" / "there" / "yet.db"}
    for free, level in ((10**10, Level.GREEN), (10**9, Level.AMBER), (10**8, Level.RED)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, n=free: SimpleNamespace(free=n))
        assert (await local("disk", journal=journal)).level is level


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


async def test_ports(tmp_path: Path) -> None:
    stack = {"state": tmp_path}
    assert (await local("ports", stack=stack)).level is Level.GREEN
    with taken_port() as port:
        found = await local("ports", stack={**stack, "hub_port": port})
        assert (found.level, found.detail) == (Level.RED, f"in use: hub {port}")
        (tmp_path / "stack.json").touch()
        assert (await local("ports", stack={**stack, "hub_port": port})).level is Level.GREEN


async def test_a_check_that_breaks_or_hangs_hides_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def breaks(_: Examination) -> list[Finding]:
        raise RuntimeError("secret words")

    async def hangs(_: Examination) -> list[Finding]:
        await asyncio.sleep(60)
        return []

    changed: dict[str, Callable[[Examination], Awaitable[list[Finding]]]] = {
        **CHECKS, "keys": breaks, "project": hangs,
    }  # fmt: skip
    monkeypatch.setattr("crossfade.doctor.CHECKS", changed)
    monkeypatch.setattr("crossfade.doctor.CHECK_S", 0.2)
    found = await examine(Examination(settings=Settings()), ["keys", "project", "ports"])
    assert [(one.name, one.level, one.broken) for one in found] == [
        ("keys", Level.RED, True), ("project", Level.RED, True), ("ports", Level.GREEN, False),
    ]  # fmt: skip
    assert "secret words" not in found[0].detail
