"""The official Python client, unmodified, end to end against the stand-in."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from realtime.types import RealtimePostgresChangesListenEvent
from supabase import AsyncClient, AsyncClientOptions, acreate_client

from crossfade.core.event import to_wire
from crossfade.core.frames import decode_events, decode_heads
from tests.contract.events import make_events
from tests.services import Project

WAIT_S = 10.0


@asynccontextmanager
async def connected(
    project: Project, key: str, token: str | None = None
) -> AsyncIterator[AsyncClient]:
    """A client, and the end of everything that it opened."""
    async with httpx.AsyncClient(timeout=WAIT_S) as http:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        client = await acreate_client(
            project.url, key, AsyncClientOptions(headers=headers, httpx_client=http)
        )
        if token is not None:
            await client.realtime.set_auth(token)
        try:
            yield client
        finally:
            await client.realtime.close()


@pytest.fixture
async def server(project: Project) -> AsyncIterator[AsyncClient]:
    async with connected(project, project.service_role_key) as client:
        yield client


@pytest.fixture
async def browser(project: Project) -> AsyncIterator[AsyncClient]:
    """A client with the anon key and a user's token."""
    async with connected(project, project.anon_key, project.token()) as client:
        yield client


async def subscribe(client: AsyncClient, topic: str, *events: str) -> asyncio.Queue[Any]:
    """Join a private channel and put every broadcast of the named events into a queue."""
    queue: asyncio.Queue[Any] = asyncio.Queue()
    joined: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    channel = client.channel(f"crossfade:{topic}", {"config": {"private": True}})
    for event in events:
        channel.on_broadcast(event, queue.put_nowait)

    def on_state(state: Any, error: Exception | None) -> None:
        if not joined.done():
            joined.set_result(f"{state.value} {error or ''}".strip())

    await channel.subscribe(on_state)
    assert await asyncio.wait_for(joined, WAIT_S) == "SUBSCRIBED"
    return queue


async def test_ingested_events_arrive_packed_on_the_private_channel(
    server: AsyncClient, browser: AsyncClient
) -> None:
    topic = f"client-{uuid.uuid4().hex[:8]}"
    received = await subscribe(browser, topic, "events", "heads")
    events = make_events(1, 50, source=topic, topic=topic)
    answer = await server.rpc(
        "crossfade_ingest_v1", {"batch": [to_wire(event) for event in events]}
    ).execute()
    assert answer.data["inserted"] == 50
    assert answer.data["frames"] == 1
    message = await asyncio.wait_for(received.get(), WAIT_S)
    frame = message["payload"]
    assert (frame["v"], frame["kind"]) == (1, "events")
    assert decode_events(frame) == events
    head = [*events[0].stream, 50, 1]
    await server.rpc("crossfade_heads_v1", {"heads": [head]}).execute()
    message = await asyncio.wait_for(received.get(), WAIT_S)
    assert [[*one.stream, one.sequence, one.floor] for one in decode_heads(message["payload"])] == [
        head
    ]


async def test_a_user_fills_what_was_missed(server: AsyncClient, browser: AsyncClient) -> None:
    source = f"client-{uuid.uuid4().hex[:8]}"
    events = make_events(1, 5, source=source)
    await server.rpc(
        "crossfade_ingest_v1", {"batch": [to_wire(event) for event in events], "live": False}
    ).execute()
    answer = await browser.rpc(
        "crossfade_fill_v1", {**events[0].stream._asdict(), "first": 2, "last": 3}
    ).execute()
    assert decode_events(answer.data) == events[1:3]
    assert (answer.data["floor"], answer.data["head"]) == (1, 5)


async def test_anon_can_not_join(project: Project) -> None:
    async with connected(project, project.anon_key) as client:
        with pytest.raises(AssertionError, match="You do not have permissions to read"):
            await subscribe(client, "critical", "events")


async def test_users_can_not_send_on_our_topics(
    project: Project, server: AsyncClient, browser: AsyncClient
) -> None:
    topic = f"client-{uuid.uuid4().hex[:8]}"
    received = await subscribe(browser, topic, "events")
    async with connected(project, project.anon_key, project.token()) as other:
        await subscribe(other, topic, "events")
        (channel,) = other.get_channels()
        await channel.send_broadcast("events", {"v": 1, "kind": "events", "events": []})
        events = make_events(1, 1, source=topic, topic=topic)
        await server.rpc("crossfade_ingest_v1", {"batch": [to_wire(events[0])]}).execute()
        message = await asyncio.wait_for(received.get(), WAIT_S)
        assert decode_events(message["payload"]) == events, "the forged frame came through"


async def test_selects_stop_at_a_thousand_rows(project: Project, server: AsyncClient) -> None:
    table = f"numbers_{uuid.uuid4().hex[:8]}"
    project.sql(f"create table public.{table} as select n from generate_series(1, 1500) n")
    answer = await server.from_(table).select("n").order("n").execute()
    assert [row["n"] for row in answer.data] == list(range(1, 1_001))
    answer = (
        await server.from_(table)
        .select("n")
        .gt("n", 3)
        .lte("n", 10)
        .in_("n", [4, 5, 11])
        .order("n", desc=True)
        .execute()
    )
    assert answer.data == [{"n": 5}, {"n": 4}]


async def join(channel: Any) -> None:
    joined: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def on_state(state: Any, error: Exception | None) -> None:
        if not joined.done():
            joined.set_result(f"{state.value} {error or ''}".strip())

    await channel.subscribe(on_state)
    assert await asyncio.wait_for(joined, WAIT_S) == "SUBSCRIBED"


async def test_broadcast_with_ack_to_others_and_to_oneself(browser: AsyncClient) -> None:
    own: asyncio.Queue[Any] = asyncio.Queue()
    config = {"broadcast": {"ack": True, "self": True}, "private": False}
    channel = browser.channel(f"public-{uuid.uuid4().hex}", {"config": config})
    await join(channel.on_broadcast("e", own.put_nowait))
    await channel.send_broadcast("e", {"n": 1})
    assert (await asyncio.wait_for(own.get(), WAIT_S))["payload"] == {"n": 1}


async def test_presence(browser: AsyncClient, server: AsyncClient) -> None:
    topic = f"presence-{uuid.uuid4().hex}"
    seen: asyncio.Queue[Any] = asyncio.Queue()

    def keyed(client: AsyncClient, key: str) -> Any:
        return client.channel(topic, {"config": {"presence": {"key": key, "enabled": True}}})

    ann = keyed(browser, "ann")
    ann.on_presence_join(lambda key, _, new: seen.put_nowait(("join", key, new[0]["mood"])))
    ann.on_presence_leave(lambda key, _, __: seen.put_nowait(("leave", key)))
    await join(ann)
    await ann.track({"mood": "ok"})
    bob = keyed(server, "bob").on_presence_sync(lambda: None)
    await join(bob)
    await bob.track({"mood": "meh"})
    for wanted in (("join", "ann", "ok"), ("join", "bob", "meh")):
        assert await asyncio.wait_for(seen.get(), WAIT_S) == wanted
    assert sorted(ann.presence_state()) == ["ann", "bob"]
    await bob.untrack()
    assert await asyncio.wait_for(seen.get(), WAIT_S) == ("leave", "bob")


async def test_postgres_changes(project: Project, browser: AsyncClient) -> None:
    table = f"changing_{uuid.uuid4().hex[:8]}"
    project.sql(
        f"create table public.{table} (id int primary key, name text);"
        f"alter publication supabase_realtime add table public.{table}"
    )
    seen: asyncio.Queue[Any] = asyncio.Queue()
    ready: asyncio.Queue[Any] = asyncio.Queue()
    channel = browser.channel("changes").on_postgres_changes(
        RealtimePostgresChangesListenEvent.All, seen.put_nowait, table=table, filter="id=gt.1"
    )
    channel.on_system(ready.put_nowait)
    await join(channel)
    assert (await asyncio.wait_for(ready.get(), WAIT_S)).status == "ok"
    project.sql(f"insert into public.{table} values (1, 'a'), (2, 'b')")
    project.sql(f"update public.{table} set name = 'c'")
    project.sql(f"delete from public.{table} where id = 2")
    changes = [(await asyncio.wait_for(seen.get(), WAIT_S))["data"] for _ in range(3)]
    assert [change["type"] for change in changes] == ["INSERT", "UPDATE", "DELETE"]
    assert changes[1]["record"] == {"id": 2, "name": "c"}
    assert changes[2]["old_record"] == {"id": 2}


async def test_an_expired_token_ends_the_channel_and_a_new_one_joins(
    project: Project, browser: AsyncClient
) -> None:
    channel = browser.channel("crossfade:expiring", {"config": {"private": True}})
    await join(channel)
    await browser.realtime.set_auth(project.token(lifetime_s=1.5))
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while not channel.is_closed:  # this client tells nobody why
        assert asyncio.get_running_loop().time() < deadline, "an expired token is accepted"
        await asyncio.sleep(0.05)
    await browser.realtime.set_auth(project.token())
    await join(browser.channel("crossfade:again", {"config": {"private": True}}))
