"""Several connections that are one transport, because a connection holds so many channels."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from pydantic import SecretStr

from crossfade.adapters.realtime import RealtimeTransport
from crossfade.adapters.realtime_pool import RealtimePool
from crossfade.settings import SupabaseSettings
from tests.unit.adapters.listening import Notes, wait_for
from tests.unit.adapters.phoenix_server import PhoenixServer


@pytest.fixture(autouse=True)
def three_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossfade.adapters.realtime.MAX_CHANNELS", 3)
    monkeypatch.setattr("crossfade.adapters.realtime_pool.MAX_CHANNELS", 3)


def pool(server: PhoenixServer, notes: Notes, **options: Any) -> RealtimePool:
    settings = SupabaseSettings(
        url=server.url, anon_key=SecretStr("anon-key"), access_token=SecretStr("first")
    )
    times = {"deaf_s": 5.0, "retry_initial_s": 0.01, "retry_max_s": 0.05, **options}
    return RealtimePool(settings, notes, partial(RealtimeTransport, **times))


def channels(server: PhoenixServer) -> list[set[str]]:
    """The topics of each connection."""
    return [
        {name.removeprefix("crossfade:") for name in joined} for joined in server.sockets.values()
    ]


async def send_heads(server: PhoenixServer, *topics: str) -> None:
    for topic in topics:
        frame = {"v": 1, "kind": "heads", "at_us": 1, "heads": [["app", 1, topic, 3, 1, 1]]}
        await server.broadcast(f"crossfade:{topic}", "heads", frame)


async def test_one_connection_while_one_is_enough() -> None:
    async with PhoenixServer() as server, pool(server, Notes()) as realtime:
        realtime.want("abc")
        await wait_for(lambda: realtime.joined == set("abc"))
        assert (server.handshakes, realtime.connections) == (1, 1)


async def test_more_topics_are_heard_on_more_connections() -> None:
    notes = Notes()
    async with PhoenixServer() as server, pool(server, notes) as realtime:
        realtime.want("abcdefgh")
        await wait_for(lambda: realtime.joined == set("abcdefgh"))
        assert sorted(len(one) for one in channels(server)) == [2, 3, 3]
        assert set(notes.reasons("joined")[-1]) == set("abcdefgh")
        await send_heads(server, *"abcdefgh")
        await wait_for(lambda: len(notes.heads_seen) == 8)
        assert {topic for _, _, proves in notes.heads_seen for topic in proves or ()} == set(
            "abcdefgh"
        )


async def test_a_topic_stays_where_it_is() -> None:
    async with PhoenixServer() as server, pool(server, Notes()) as realtime:
        realtime.want("abcd")
        await wait_for(lambda: realtime.joined == set("abcd"))
        realtime.want("bcdxy")
        await wait_for(lambda: realtime.joined == set("bcdxy"))
        assert sorted(map(sorted, channels(server))) == [["b", "c", "x"], ["d", "y"]]
        assert len(server.joins) == 6, "nobody joined twice"
        assert server.handshakes == 2


async def test_a_connection_that_nothing_is_wanted_of_is_closed() -> None:
    async with PhoenixServer() as server, pool(server, Notes()) as realtime:
        realtime.want("abcd")
        await wait_for(lambda: realtime.joined == set("abcd"))
        realtime.want("ab")
        await wait_for(lambda: len(server.sockets) == 1)
        assert realtime.joined == set("ab")
        realtime.want("")
        await wait_for(lambda: not server.sockets)
        assert not realtime.connected


async def test_losing_one_connection_leaves_the_others_standing() -> None:
    notes = Notes()
    async with PhoenixServer() as server, pool(server, notes) as realtime:
        realtime.want("abcd")
        await wait_for(lambda: realtime.joined == set("abcd"))
        socket = next(one for one, names in server.sockets.items() if len(names) == 1)
        before = len(notes.calls)
        with suppress(OSError):
            await socket.close(1011)
        await wait_for(lambda: realtime.connections == 3)
        await wait_for(lambda: realtime.joined == set("abcd"))
        told = [
            (name, sorted(value) if isinstance(value, dict) else None)
            for name, value in notes.calls[before:]
            if name in ("left", "joined")
        ]
        assert told == [("left", None), ("joined", list("abc")), ("joined", list("abcd"))]


async def test_a_fresh_token_reaches_connections_of_before_and_after() -> None:
    async with PhoenixServer() as server, pool(server, Notes()) as realtime:
        realtime.want("abcd")
        await wait_for(lambda: realtime.joined == set("abcd"))
        await realtime.refresh("second")
        await wait_for(lambda: len([1 for _, token in server.tokens if token == "second"]) == 4)
        realtime.want("abcdefg")
        await wait_for(lambda: realtime.joined == set("abcdefg"))
        assert [join["payload"]["access_token"] for join in server.joins[4:]] == ["second"] * 3


async def test_above_the_most_connections_the_rest_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("crossfade.adapters.realtime_pool.READER_CONNECTIONS", 2)
    async with PhoenixServer() as server, pool(server, Notes()) as realtime:
        for _ in range(2):
            realtime.want("abcdefgh")
        await wait_for(lambda: realtime.joined == set("abcdef"))
        await asyncio.sleep(0.05)
        assert server.handshakes == 2
        assert caplog.text.count("2 topics are not listened to by Realtime") == 1
