"""The Realtime transport against a server that misbehaves in every known way."""

import asyncio
import json
import logging
from http import HTTPStatus
from typing import Any

import pytest
from pydantic import SecretStr

from crossfade.adapters.realtime import MAX_CHANNELS, RealtimeTransport
from crossfade.core.event import Event, content_hash, to_wire
from crossfade.settings import SupabaseSettings
from tests.unit.adapters.listening import Notes, wait_for
from tests.unit.adapters.phoenix_server import PhoenixServer

CHANNEL = "crossfade:critical"


def make_event(sequence: int) -> Event:
    event = Event(
        id=f"e{sequence}",
        source="app",
        type="t",
        time_us=sequence,
        subject="",
        category="critical",
        topic="critical",
        partition=3,
        epoch=1,
        sequence=sequence,
        data="{}",
        hash=0,
    )
    return event._replace(hash=content_hash(event))


def settings(url: str, **keys: str) -> SupabaseSettings:
    keys = keys or {"anon_key": "anon-key", "access_token": "user-token"}
    return SupabaseSettings(url=url, **{name: SecretStr(key) for name, key in keys.items()})


def transport(server: PhoenixServer, notes: Notes, **options: Any) -> RealtimeTransport:
    values: dict[str, Any] = {
        "deaf_s": 0.5,
        "retry_initial_s": 0.01,
        "retry_max_s": 0.05,
        **options,
    }
    return RealtimeTransport(settings(server.url), notes, **values)


async def send_events(server: PhoenixServer, *sequences: int, channel: str = CHANNEL) -> None:
    events = [to_wire(make_event(sequence)) for sequence in sequences]
    await server.broadcast(channel, "events", {"v": 1, "kind": "events", "events": events})


async def send_heads(server: PhoenixServer, sequence: int, channel: str = CHANNEL) -> None:
    topic = channel.removeprefix("crossfade:")
    rows = [["app", 1, topic, 3, sequence, 1]]
    frame = {"v": 1, "kind": "heads", "at_us": 1, "heads": rows}
    await server.broadcast(channel, "heads", frame)


async def test_events_and_heads_arrive_from_a_private_channel() -> None:
    notes = Notes()
    async with PhoenixServer() as server, transport(server, notes) as realtime:
        realtime.want(["critical"])
        await wait_for(lambda: realtime.connected)
        await send_events(server, 1, 2)
        await send_heads(server, 2)
        await wait_for(lambda: notes.heads_seen)
        assert notes.seen == [make_event(1), make_event(2)]
        assert notes.heads_seen == [
            ("realtime", [(make_event(1).stream, 2, 1)], {"critical": None})
        ]
        assert notes.reasons("joined") == [{"critical": None}]
        config = server.joins[0]["payload"]["config"]
        assert config["private"] is True
        assert config["broadcast"] == {"ack": False, "self": False}
    assert notes.reasons("left") == ["closed"]


@pytest.mark.parametrize(
    ("keys", "key", "token"),
    [
        ({"anon_key": "a", "service_role_key": "s", "access_token": "u"}, "a", "u"),
        ({"anon_key": "a", "service_role_key": "s"}, "a", "s"),
        ({"anon_key": "a"}, "a", "a"),
        ({"service_role_key": "s"}, "s", "s"),
    ],
)
async def test_the_strongest_token_is_used_to_join(
    keys: dict[str, str], key: str, token: str
) -> None:
    async with (
        PhoenixServer() as server,
        RealtimeTransport(settings(server.url, **keys), Notes()) as realtime,
    ):
        realtime.want(["critical"])
        await wait_for(lambda: server.tokens)
        assert (server.keys, server.tokens) == ([key], [(CHANNEL, token)])


async def test_it_connects_only_while_something_is_wanted() -> None:
    notes = Notes()
    async with PhoenixServer() as server, transport(server, notes) as realtime:
        await asyncio.sleep(0.1)
        assert server.handshakes == 0
        realtime.want(["critical", "debug"])
        await wait_for(lambda: realtime.joined == {"critical", "debug"})
        realtime.want(["debug"])
        await wait_for(lambda: server.left == [CHANNEL])
        assert notes.reasons("joined")[-1] == {"debug": None}
        await send_events(server, 1, channel="crossfade:debug")
        await wait_for(lambda: notes.seen)
        realtime.want([])
        await wait_for(lambda: not server.sockets)
        assert server.handshakes == 1
        realtime.want(["critical"])
        await wait_for(lambda: realtime.joined == {"critical"})
        assert (server.handshakes, realtime.connections) == (2, 2)


@pytest.mark.parametrize("system", [None, "Too many messages per second"])
async def test_a_closed_channel_is_joined_again(system: str | None) -> None:
    notes = Notes()
    async with PhoenixServer() as server, transport(server, notes) as realtime:
        realtime.want(["critical"])
        await wait_for(lambda: realtime.connected)
        await server.close_channel(CHANNEL, system)
        await wait_for(lambda: realtime.connections == 2)
        (reason,) = notes.reasons("left")
        assert reason.startswith("channel critical is ")
        assert system is None or system in reason
        await send_events(server, 7)
        await wait_for(lambda: notes.seen)


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012])
async def test_a_dropped_socket_is_replaced(code: int) -> None:
    notes = Notes()
    async with PhoenixServer() as server, transport(server, notes) as realtime:
        realtime.want(["critical"])
        for count in range(1, 4):
            await wait_for(lambda count=count: realtime.connections == count)
            await server.drop(code)
        await wait_for(lambda: realtime.connections == 4)
        await send_events(server, 7)
        await wait_for(lambda: notes.seen)


async def test_it_goes_on_trying_for_longer_than_the_client_would() -> None:
    notes = Notes()
    async with PhoenixServer() as server, transport(server, notes) as realtime:
        server.handshake = HTTPStatus.SERVICE_UNAVAILABLE
        realtime.want(["critical"])
        await wait_for(lambda: len(notes.reasons("failed")) >= 8)
        assert "HTTP 503" in notes.reasons("failed")[0]
        server.handshake = None
        await wait_for(lambda: realtime.connected)
    port = server.port
    notes = Notes()
    async with transport(server, notes) as realtime:
        realtime.want(["critical"])
        await wait_for(lambda: len(notes.reasons("failed")) >= 8)
        await server.start(port)
        await wait_for(lambda: realtime.connected)
        await server.stop()


async def test_pauses_have_full_jitter_and_grow_to_their_limit() -> None:
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return 0.0

    async with PhoenixServer() as server:
        server.handshake = HTTPStatus.UNAUTHORIZED
        async with transport(
            server, Notes(), retry_initial_s=0.1, retry_max_s=1.0, uniform=uniform
        ) as realtime:
            realtime.want(["critical"])
            await wait_for(lambda: len(asked) >= 7)
    assert [high for _, high in asked[:7]] == [0.1, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert not any(low for low, _ in asked)


async def test_no_more_channels_than_a_connection_holds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert MAX_CHANNELS == 100
    monkeypatch.setattr("crossfade.adapters.realtime.MAX_CHANNELS", 3)
    notes = Notes()
    async with PhoenixServer() as server, transport(server, notes) as realtime:
        realtime.want(["d", "e"])
        await wait_for(lambda: realtime.joined == {"d", "e"})
        for _ in range(2):
            realtime.want(["a", "b", "c", "d", "e"])
        await wait_for(lambda: realtime.joined == {"a", "d", "e"})
        assert caplog.text.count("2 topics are not listened to by Realtime") == 1
        realtime.want(["a", "b", "e"])
        await wait_for(lambda: realtime.joined == {"a", "b", "e"})


async def test_a_refused_channel_leaves_the_others_alone_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("crossfade.adapters.realtime.REFUSED_S", 0.2)
    notes = Notes()
    async with PhoenixServer() as server, transport(server, notes) as realtime:
        server.refuse["crossfade:debug"] = "Unauthorized: no permissions"
        realtime.want(["critical", "debug"])
        await wait_for(lambda: notes.reasons("failed"))
        assert "debug is refused" in notes.reasons("failed")[0]
        assert "Unauthorized" in notes.reasons("failed")[0]
        await wait_for(lambda: realtime.joined == {"critical"})
        await send_events(server, 1)
        await wait_for(lambda: notes.seen)
        server.refuse.clear()
        await wait_for(lambda: realtime.joined == {"critical", "debug"})
        assert (server.handshakes, realtime.connections) == (1, 1)


async def test_a_join_without_an_answer_ends_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossfade.adapters.realtime.JOIN_S", 0.2)
    notes = Notes()
    async with PhoenixServer() as server, transport(server, notes) as realtime:
        server.mute = True
        realtime.want(["critical"])
        await wait_for(lambda: notes.reasons("failed"))
        assert notes.reasons("failed")[0] == "channel critical is timed_out"
        server.mute = False
        await wait_for(lambda: realtime.connected)


async def test_i5_a_connection_without_heads_is_deaf_and_given_up() -> None:
    notes = Notes()
    async with PhoenixServer() as server, transport(server, notes, deaf_s=0.2) as realtime:
        realtime.want(["critical"])
        await wait_for(lambda: realtime.connected)
        await send_heads(server, 1)
        await wait_for(lambda: realtime.connections == 2)
        assert notes.reasons("left")[0].startswith("no head for 0.")


async def test_a_connection_that_never_had_a_head_is_given_more_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("crossfade.adapters.realtime.SILENT_FROM_THE_START", 4)
    notes = Notes()
    loop = asyncio.get_running_loop()
    async with PhoenixServer() as server, transport(server, notes, deaf_s=0.2) as realtime:
        realtime.want(["critical"])
        await wait_for(lambda: realtime.connected)
        started = loop.time()
        await wait_for(lambda: notes.reasons("left"))
        assert loop.time() - started > 0.6


async def test_i10_a_full_queue_drops_frames_and_counts_them() -> None:
    notes = Notes()
    async with PhoenixServer() as server, transport(server, notes, queue_frames=5) as realtime:
        realtime.want(["critical"])
        await wait_for(lambda: realtime.connected)
        await send_heads(server, 1)
        await wait_for(lambda: notes.heads_seen)
        notes.open.clear()
        for sequence in range(1, 21):
            await send_events(server, sequence)
        await wait_for(lambda: realtime.dropped_frames >= 14)
        await asyncio.sleep(0.7)  # longer than deaf_s: a consumer that is behind is not deaf
        notes.open.set()
        await wait_for(lambda: len(notes.seen) >= 5)
        assert [event.sequence for event in notes.seen] == [1, 2, 3, 4, 5, 6][: len(notes.seen)]
        assert realtime.connections == 1
        await send_events(server, 21)
        await wait_for(lambda: notes.seen[-1].sequence == 21)
        await asyncio.sleep(0.3)  # it looks for heads every LOOK_S
        assert realtime.connections == 1


async def test_what_can_not_be_read_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    notes = Notes()
    async with PhoenixServer() as server, transport(server, notes) as realtime:
        realtime.want(["critical"])
        await wait_for(lambda: realtime.connected)
        await server.raw("no json")
        await server.raw(json.dumps({"event": "strange", "topic": "x", "payload": 1, "ref": None}))
        await server.broadcast(CHANNEL, "events", {"v": 2, "kind": "events"})
        await server.broadcast(CHANNEL, "events", {"v": 1, "kind": "heads", "heads": [[1]]})
        await server.broadcast(
            CHANNEL,
            "events",
            {"v": 1, "kind": "events", "events": [{"id": "x"}, to_wire(make_event(5))]},
        )
        await wait_for(lambda: notes.seen)
        assert notes.seen == [make_event(5)]
        assert realtime.connections == 1
    texts = [record.message for record in caplog.records]
    assert any("a frame of version 2" in text for text in texts)
    assert any("an event can not be read" in text for text in texts)


async def test_a_listener_that_raises_ends_the_attempt_not_the_transport() -> None:
    class Broken(Notes):
        def events(self, via: str, events: Any) -> None:
            if not self.reasons("left"):
                raise KeyError("a bug")
            super().events(via, events)

    notes = Broken()
    async with PhoenixServer() as server, transport(server, notes) as realtime:
        realtime.want(["critical"])
        await wait_for(lambda: realtime.connected)
        await send_events(server, 1)
        await wait_for(lambda: realtime.connections == 2)
        await send_events(server, 2)
        await wait_for(lambda: notes.seen)


async def test_a_listen_task_that_died_is_noticed() -> None:
    notes = Notes()
    async with PhoenixServer() as server, transport(server, notes) as realtime:
        realtime.want(["critical"])
        await wait_for(lambda: realtime.connected)
        client = realtime._client
        assert client is not None
        assert client._listen_task is not None
        client._listen_task.cancel()
        await wait_for(lambda: realtime.connections == 2)
        assert notes.reasons("left") == ["the connection was closed"]


async def test_a_fresh_token_goes_in_band() -> None:
    async with PhoenixServer() as server, transport(server, Notes()) as realtime:
        realtime.want(["critical"])
        await wait_for(lambda: realtime.connected)
        await realtime.refresh("fresh")
        await wait_for(lambda: len(server.tokens) == 2)
        assert server.tokens == [(CHANNEL, "user-token"), (CHANNEL, "fresh")]


async def test_no_secret_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    notes = Notes()
    async with PhoenixServer() as server, transport(server, notes) as realtime:
        server.refuse[CHANNEL] = "MalformedJWT: user-token for anon-key"
        realtime.want(["critical"])
        await wait_for(lambda: notes.reasons("failed"))
    told = [record.getMessage() for record in caplog.records if record.name.startswith("crossfade")]
    for text in (*told, *map(str, notes.calls)):
        assert "user-token" not in text
        assert "anon-key" not in text


async def test_nothing_is_left_running_at_the_end() -> None:
    before = asyncio.all_tasks()
    async with PhoenixServer() as server:
        async with transport(server, Notes()) as realtime:
            server.refuse["crossfade:debug"] = "no"
            realtime.want(["critical", "debug"])
            await wait_for(lambda: realtime.connected)
            server.mute = True
            realtime.want(["critical", "debug", "system"])
            await wait_for(lambda: len(server.joins) >= 3)
        await wait_for(lambda: not server.sockets)
        left = {
            task for task in asyncio.all_tasks() - before if "server" not in repr(task.get_coro())
        }
        assert not left, left
