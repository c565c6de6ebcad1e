"""What Crossfade needs of a Supabase project, asked of whichever there is.

Runs on the stand-in with both kinds of keys always, and on a real project when the environment
names one (see ``target``): what holds here holds there.
"""

import asyncio
import contextlib
import json
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psycopg
import pytest
from supabase import AsyncClientOptions, acreate_client
from websockets.asyncio.client import connect

from crossfade.adapters.migrations import applied_versions, find_migrations
from crossfade.adapters.supabase import SupabaseEventStore
from crossfade.adapters.supabase_project import SupabaseProject
from crossfade.core.event import Head, to_wire
from crossfade.core.finding import Level
from crossfade.core.keys import api_headers
from crossfade.doctor import Examination, examine
from crossfade.errors import StoreUnavailable
from tests.contract.events import make_event, make_events
from tests.contract.target import BOTH_KINDS, Target
from tests.integration.schema.test_security import RULES

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase"), pytest.mark.timeout(120)]

API = sorted(
    {
        name
        for one in find_migrations()
        for name in re.findall(r"function public\.(crossfade_\w+)\(", one.path.read_text())
    }
)
WAIT_S = 15.0
ARGUMENTS: dict[str, dict[str, Any]] = {
    "crossfade_ingest_v1": {"batch": [], "live": False},
    "crossfade_heads_v1": {"heads": [], "live": False},
    "crossfade_fill_v1": {
        "source": "contract-none", "epoch": 1, "topic": "critical", "partition": 0, "first": 1,
        "last": 2,
    },
    "crossfade_digests_v1": {"ranges": [], "block": 256},
    "crossfade_scrub_v1": {"ranges": [], "block": 256},
    "crossfade_changes_v1": {"since": ""},
    "crossfade_rows_v1": {"ranges": []},
    "crossfade_hashes_v1": {"ranges": []},
    "crossfade_retain_v1": {"floors": [], "before": "2020-01-01T00:00:00Z"},
}  # fmt: skip


@pytest.fixture
def source() -> str:
    return f"contract-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def topic() -> str:
    """A topic of the test's own, so that tests do not hear each other."""
    return f"contract-{uuid.uuid4().hex[:12]}"


@asynccontextmanager
async def rest(target: Target) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{target.url}/rest/v1", timeout=WAIT_S) as client:
        yield client


def headers(target: Target, role: str) -> dict[str, str]:
    if role == "service_role":
        return api_headers(target.service_role_key)
    return api_headers(target.anon_key, target.access_token if role == "authenticated" else "")


# -- who may do what, over the API --


@pytest.mark.parametrize("target", BOTH_KINDS, indirect=True)
@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
async def test_who_may_call_what(target: Target, role: str) -> None:
    async with rest(target) as client:
        for function in API:
            answer = await client.post(
                f"/rpc/{function}",
                headers=headers(target, role),
                json=ARGUMENTS.get(function, {}),
            )
            told = (function, answer.status_code, answer.text[:200])
            if role in RULES[f"public.{function}"]:
                assert answer.status_code == 200, told
            else:
                assert answer.status_code in (401, 403), told
                assert answer.json()["code"] == "42501", told


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
async def test_the_tables_are_not_exposed(target: Target, role: str) -> None:
    async with rest(target) as client:
        for table in ("events", "heads", "dead_letters"):
            found = await client.get(f"/{table}", headers=headers(target, role))
            assert found.status_code == 404, (table, found.text[:200])
            asked = {**headers(target, role), "Accept-Profile": "crossfade"}
            profiled = await client.get(f"/{table}", headers=asked)
            assert profiled.status_code == 406, (table, profiled.text[:200])


async def test_a_key_that_is_not_the_projects_is_refused(target: Target) -> None:
    async with SupabaseEventStore(target.url, target.anon_key + "x") as store:
        with pytest.raises(StoreUnavailable, match="401"):
            await store.health()


async def test_a_call_that_is_not_there_is_said_so(target: Target) -> None:
    async with rest(target) as client:
        answer = await client.post(
            "/rpc/crossfade_nothing_v1", headers=headers(target, "service_role"), json={}
        )
    assert (answer.status_code, answer.json()["code"]) == (404, "PGRST202")


# -- live --


@pytest.mark.parametrize("target", BOTH_KINDS, indirect=True)
async def test_the_official_client_hears_what_is_ingested(
    target: Target, source: str, topic: str
) -> None:
    client = await acreate_client(
        target.url, target.anon_key, AsyncClientOptions(auto_refresh_token=False)
    )
    frames: asyncio.Queue[Any] = asyncio.Queue()
    joined = asyncio.Event()
    try:
        await client.realtime.set_auth(target.access_token)
        channel = client.channel(
            f"crossfade:{topic}", {"config": {"private": True, "broadcast": {}, "presence": {}}}
        )  # type: ignore[typeddict-item]
        for kind in ("events", "heads"):
            channel.on_broadcast(kind, frames.put_nowait)
        await channel.subscribe(lambda *_: joined.set())
        await asyncio.wait_for(joined.wait(), WAIT_S)

        events = make_events(1, 50, source=source, topic=topic)
        heard: list[Any] = []
        async with SupabaseProject(target.url, target.service_role_key, timeout_s=15) as project:
            # The first join starts a quiet project's replication: nothing before it is sent live.
            for _ in range(5):
                await project.heads([Head(events[0].stream, 0, 1)])
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(frames.get(), 3)
                    break
            result = await project.ingest(events)
            assert (result.frames, result.warnings) == (1, ())
            while len(heard) < 50:
                payload = (await asyncio.wait_for(frames.get(), WAIT_S))["payload"]
                heard += payload.get("events", [])
            await project.heads([Head(events[0].stream, 50, 1)])
            while payload["kind"] != "heads" or payload["heads"][0][4] != 50:
                payload = (await asyncio.wait_for(frames.get(), WAIT_S))["payload"]
        assert heard == [to_wire(event) for event in events]
        assert payload["heads"] == [[*events[0].stream, 50, 1]]
    finally:
        await client.remove_all_channels()
        await client.realtime.close()


@asynccontextmanager
async def socket(target: Target, version: str, key: str) -> AsyncIterator[Any]:
    url = target.url.replace("http", "ws", 1)
    async with connect(
        f"{url}/realtime/v1/websocket?apikey={key}&vsn={version}", open_timeout=WAIT_S
    ) as opened:
        yield opened


def message(version: str, topic: str, event: str, payload: Any, ref: str) -> str:
    name = f"realtime:crossfade:{topic}"
    if version == "2.0.0":
        return json.dumps(["1", ref, name, event, payload])
    return json.dumps(
        {"topic": name, "event": event, "payload": payload, "ref": ref, "join_ref": "1"}
    )


async def receive(opened: Any, version: str, wanted: str, wait_s: float = WAIT_S) -> Any:
    """The payload of the next message of this event."""
    async with asyncio.timeout(wait_s):
        while True:
            raw = await opened.recv()
            if isinstance(raw, bytes):
                event, payload = "broadcast", from_binary(raw)
            elif version == "2.0.0":
                _, _, _, event, payload = json.loads(raw)
            else:
                read = json.loads(raw)
                event, payload = read["event"], read["payload"]
            if event == wanted:
                return payload


def from_binary(raw: bytes) -> dict[str, Any]:
    """Type 4: sizes of topic, event and metadata, the encoding, then these and the content."""
    assert (raw[0], raw[4]) == (4, 1), raw[:5]
    event_at = 5 + raw[1]
    content_at = event_at + raw[2] + raw[3]
    return {
        "event": raw[event_at : event_at + raw[2]].decode(),
        "payload": json.loads(raw[content_at:]),
    }


def join(token: str) -> dict[str, Any]:
    config = {"private": True, "broadcast": {"ack": False, "self": False}, "presence": {}}
    return {"config": config, "access_token": token}


@pytest.mark.parametrize("version", ["1.0.0", "2.0.0"])
async def test_both_versions_on_the_wire(
    target: Target, source: str, topic: str, version: str
) -> None:
    async with (
        socket(target, version, target.anon_key) as opened,
        SupabaseEventStore(target.url, target.service_role_key, timeout_s=15) as store,
    ):
        await opened.send(message(version, topic, "phx_join", join(target.access_token), "1"))
        assert (await receive(opened, version, "phx_reply"))["status"] == "ok"
        # A fresh token, in band; the channel stays.
        fresh = {"access_token": target.access_token}
        await opened.send(message(version, topic, "access_token", fresh, "2"))
        payload: Any = None
        for number in range(1, 6):
            # The first join starts a quiet project's replication.
            await store.ingest([make_event(number, source=source, topic=topic)])
            with contextlib.suppress(TimeoutError):
                payload = await receive(opened, version, "broadcast", 3)
                break
    assert payload["event"] == "events"
    assert payload["payload"]["events"][0]["source"] == source


async def test_nobody_joins_a_private_channel_with_the_publishable_key_alone(
    target: Target, topic: str
) -> None:
    async with socket(target, "1.0.0", target.anon_key) as opened:
        await opened.send(message("1.0.0", topic, "phx_join", join(target.anon_key), "1"))
        reply = await receive(opened, "1.0.0", "phx_reply")
    assert reply["status"] == "error"
    assert reply["response"]["reason"].startswith("Unauthorized")


async def test_a_subscriber_can_send_nothing_to_others(target: Target, topic: str) -> None:
    async with (
        socket(target, "1.0.0", target.anon_key) as sender,
        socket(target, "1.0.0", target.anon_key) as listener,
        SupabaseEventStore(target.url, target.service_role_key, timeout_s=15) as store,
    ):
        for opened in (sender, listener):
            await opened.send(message("1.0.0", topic, "phx_join", join(target.access_token), "1"))
            assert (await receive(opened, "1.0.0", "phx_reply"))["status"] == "ok"
        forged = {"type": "broadcast", "event": "events", "payload": {"v": 1, "forged": True}}
        await sender.send(message("1.0.0", topic, "broadcast", forged, "2"))
        for _ in range(5):
            # What the publisher sends afterwards comes, and it is the first thing that comes.
            await store.heads([Head(make_event(1, source=topic, topic=topic).stream, 0, 1)])
            with contextlib.suppress(TimeoutError):
                payload = await receive(listener, "1.0.0", "broadcast", 3)
                break
    assert payload["event"] == "heads", payload


# -- the whole --


@pytest.mark.parametrize("target", BOTH_KINDS, indirect=True)
async def test_the_doctor_finds_nothing_red(target: Target) -> None:
    found = await examine(
        Examination(settings=target.settings()), ("keys", "project", "anon", "canary")
    )
    assert [one for one in found if one.level is Level.RED] == []
    assert {"canary", "row_limit", "partition_today"} <= {one.name for one in found}


async def test_old_events_go_and_the_floor_says_so(target: Target, source: str) -> None:
    events = make_events(1, 12, source=source)
    async with SupabaseProject(target.url, target.service_role_key, timeout_s=15) as project:
        await project.ingest(events, live=False)
        await project.heads([Head(events[0].stream, 12, 9)])
        before_us = (await project.facts()).now_us
        # The database's clock, and nothing of the future.
        await asyncio.sleep(0.05)
        done = await project.retain([(events[0].stream, 7)], before_us)
        assert (done.deleted, done.more, done.floors) == (6, False, ((events[0].stream, 7),))
        done = await project.retain([(events[0].stream, 100)], before_us)
        assert done.deleted == 2, "never what the journal still holds"
        page = await project.fill(events[0].stream, 1, 12)
        assert (page.floor, page.head, page.events) == (9, 12, events[8:])


async def test_the_schema_of_this_version_is_recorded(target: Target) -> None:
    async with SupabaseProject(target.url, target.service_role_key, timeout_s=15) as project:
        health = await project.health()
    ours = [one.version for one in find_migrations()]
    assert health.migration == ours[-1]
    if target.database_url:
        assert set(ours) <= set(applied_versions(target.database_url))


def test_the_catalog_grants_what_the_rules_say(target: Target) -> None:
    """Over the database's own connection, where one is given."""
    if not target.database_url:
        return
    with psycopg.connect(target.database_url, autocommit=True) as connection:
        granted = connection.execute(
            "select n.nspname || '.' || p.proname, r.rolname from pg_proc p "
            "join pg_namespace n on n.oid = p.pronamespace "
            "join pg_roles r on r.rolname in ('anon', 'authenticated') "
            "where (n.nspname = 'crossfade' "
            "       or (n.nspname = 'public' and p.proname like 'crossfade%')) "
            "and has_function_privilege(r.oid, p.oid, 'execute')"
        ).fetchall()
    assert set(granted) == {
        (name, role) for name, roles in RULES.items() for role in roles if role != "service_role"
    }
    assert {f"public.{name}" for name in API} <= RULES.keys()
