import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

from crossfade.core.event import to_wire
from crossfade.errors import PortTaken, SettingsError
from crossfade.local.hub import Hub, address_of
from crossfade.local.hub_reports import hub_name
from crossfade.settings import Settings, WebSocketSettings
from crossfade.subscriber import Subscriber
from tests.integration.raw_client import RawClient, make_event, until


def settings(**more: Any) -> WebSocketSettings:
    values = {"url": "ws://127.0.0.1:0", "token": SecretStr("t"), "heads_s": 0.1, **more}
    return WebSocketSettings(**values)


def sequences(events: list[dict[str, Any]]) -> list[int]:
    return [event["sequence"] for event in events]


async def test_events_travel_unchanged_and_in_order() -> None:
    async with (
        Hub(settings()) as hub,
        RawClient(hub.url) as subscriber,
        RawClient(hub.url, "publisher") as publisher,
    ):
        await subscriber.subscribe()
        sent = [make_event(n) for n in range(1, 6)]
        await publisher.publish(*sent[:2])
        await publisher.publish(*sent[2:], request=2)
        assert await subscriber.events(5) == [to_wire(event) for event in sent]


async def test_repeated_events_are_delivered_once() -> None:
    async with (
        Hub(settings()) as hub,
        RawClient(hub.url) as subscriber,
        RawClient(hub.url, "publisher") as publisher,
    ):
        await subscriber.subscribe()
        await publisher.publish(make_event(1), make_event(2))
        await publisher.publish(make_event(1), make_event(2), make_event(3), request=2)
        assert sequences(await subscriber.events(3)) == [1, 2, 3]


async def test_history_then_live_without_a_gap_while_events_keep_coming() -> None:
    async with (
        Hub(settings()) as hub,
        RawClient(hub.url, "publisher") as publisher,
        RawClient(hub.url) as subscriber,
    ):
        data = json.dumps({"filler": "x" * 2_000})
        for start in range(1, 2_001, 100):
            batch = [make_event(n, data=data) for n in range(start, start + 100)]
            await publisher.publish(*batch, request=start)

        async def go_on() -> None:
            for n in range(2_001, 2_201):
                await publisher.publish(make_event(n, data=data), request=n)

        more = asyncio.create_task(go_on())
        answer = await subscriber.subscribe(positions=[["app", 1, "critical", 0, 11]])
        assert answer["heads"][0][4] >= 2_000
        found: list[int] = []
        while not found or found[-1] < 2_200:
            found += sequences((await subscriber.next("events"))["events"])
        await more
        assert found == list(range(11, 2_201))


async def test_heads_never_run_ahead_of_a_client_that_catches_up() -> None:
    """Or it would take what is under way for a hole, and ask for all of it once more."""
    async with (
        Hub(settings(heads_s=0.02)) as hub,
        RawClient(hub.url, "publisher") as publisher,
        RawClient(hub.url, max_queue=1) as subscriber,
    ):
        data = json.dumps({"filler": "x" * 20_000})
        for start in range(1, 401, 20):
            batch = [make_event(n, data=data) for n in range(start, start + 20)]
            await publisher.publish(*batch, request=start)
        await subscriber.subscribe(positions=[["app", 1, "critical", 0, 1]])
        last = heads = 0
        while last < 400:
            await asyncio.sleep(0.01)
            frame = json.loads(await subscriber.connection.recv())
            if frame["kind"] == "events":
                last = frame["events"][-1]["sequence"]
            else:
                heads += 1
                assert frame["heads"][0][4] <= last
        assert heads > 3
        assert (await subscriber.next("heads"))["heads"][0][4] == 400
        # Its receive queue is too short for a polite end.
        subscriber.connection.transport.abort()


async def test_a_stream_without_a_position_starts_at_its_head() -> None:
    async with (
        Hub(settings()) as hub,
        RawClient(hub.url, "publisher") as publisher,
        RawClient(hub.url) as subscriber,
    ):
        await publisher.publish(make_event(1), make_event(2))
        answer = await subscriber.subscribe()
        assert answer["heads"] == [["app", 1, "critical", 0, 2, 1]]
        await publisher.publish(make_event(3), make_event(1, partition=9), request=2)
        events = await subscriber.events(2)
        assert [(event["partition"], event["sequence"]) for event in events] == [(0, 3), (9, 1)]


async def test_a_subscription_is_cut_to_partitions_and_can_be_replaced() -> None:
    async with (
        Hub(settings()) as hub,
        RawClient(hub.url, "publisher") as publisher,
        RawClient(hub.url) as subscriber,
    ):
        await subscriber.subscribe({"critical": [1], "debug": None})
        offered = [
            make_event(1, partition=0),
            make_event(1, partition=1),
            make_event(1, topic="debug", partition=7),
            make_event(1, topic="system", partition=1),
        ]
        await publisher.publish(*offered)
        got = await subscriber.events(2)
        assert [(event["topic"], event["partition"]) for event in got] == [
            ("critical", 1),
            ("debug", 7),
        ]
        await subscriber.subscribe({"system": None}, [["app", 1, "system", 1, 1]])
        assert (await subscriber.events(1))[0]["topic"] == "system"
        await publisher.publish(
            make_event(2, partition=1), make_event(2, topic="system", partition=1), request=2
        )
        assert (await subscriber.events(1))[0]["topic"] == "system"


async def test_heads_come_at_once_and_then_every_interval() -> None:
    async with (
        Hub(settings()) as hub,
        RawClient(hub.url, "publisher") as publisher,
        RawClient(hub.url) as subscriber,
    ):
        await publisher.publish(make_event(1), heads=[["app", 1, "critical", 0, 0, 1]])
        await subscriber.subscribe()
        first, second = await subscriber.next("heads"), await subscriber.next("heads")
        assert first["heads"] == second["heads"] == [["app", 1, "critical", 0, 1, 1]]
        assert second["at_us"] > first["at_us"]


async def test_a_fill_comes_from_history_or_else_from_the_publishers_journal() -> None:
    async with (
        Hub(settings(history_events=3)) as hub,
        RawClient(hub.url, "publisher") as publisher,
        RawClient(hub.url) as subscriber,
    ):
        await publisher.publish(
            *(make_event(n) for n in range(1, 6)), heads=[["app", 1, "critical", 0, 0, 1]]
        )
        place = {"source": "app", "epoch": 1, "topic": "critical", "partition": 0}
        await subscriber.send("fill", request=7, **place, first=4, last=4)
        answer = await subscriber.next("filled")
        assert answer["request"] == 7
        assert sequences(answer["events"]) == [4]
        assert (answer["floor"], answer["head"]) == (1, 5)

        await subscriber.send("fill", request=8, **place, first=1, last=2)
        asked = await publisher.next("fill")
        assert (asked["first"], asked["last"], asked["partition"]) == (1, 2, 0)
        page = [to_wire(make_event(n)) for n in (1, 2)]
        await publisher.send("filled", request=asked["request"], events=page, floor=1, head=5)
        answer = await subscriber.next("filled")
        assert (answer["request"], answer["events"]) == (8, page)


async def test_a_fill_nobody_can_give_is_answered_empty() -> None:
    async with Hub(settings(history_events=1)) as hub, RawClient(hub.url) as subscriber:
        place = {"source": "app", "epoch": 1, "topic": "critical", "partition": 0}
        async with RawClient(hub.url, "publisher") as publisher:
            await publisher.publish(
                make_event(1), make_event(2), heads=[["app", 1, "critical", 0, 0, 1]]
            )
            await subscriber.send("fill", request=1, **place, first=1, last=1)
            await publisher.next("fill")
        answer = await subscriber.next("filled")
        assert (answer["events"], answer["floor"], answer["head"]) == ([], 1, 2)
        await subscriber.send("fill", request=2, **place, first=1, last=1)
        assert (await subscriber.next("filled"))["events"] == []
        unknown = {**place, "topic": "nowhere"}
        await subscriber.send("fill", request=3, **unknown, first=1, last=1)
        answer = await subscriber.next("filled")
        assert (answer["events"], answer["floor"], answer["head"]) == ([], None, None)


async def test_without_a_publishers_word_nothing_is_known_to_be_gone() -> None:
    """The history begins at 10, but the journal may hold what was before."""
    async with Hub(settings()) as hub, RawClient(hub.url) as subscriber:
        place = {"source": "app", "epoch": 1, "topic": "critical", "partition": 0}
        async with RawClient(hub.url, "publisher") as publisher:
            await publisher.publish(*(make_event(n) for n in range(10, 13)))
        await subscriber.send("fill", request=1, **place, first=3, last=9)
        answer = await subscriber.next("filled")
        assert (answer["events"], answer["floor"], answer["head"]) == ([], None, 12)
        assert (await subscriber.subscribe())["heads"] == [["app", 1, "critical", 0, 12, 1]]
        async with RawClient(hub.url, "publisher") as publisher:
            await publisher.publish(heads=[["app", 1, "critical", 0, 12, 8]])
        await subscriber.send("fill", request=2, **place, first=3, last=9)
        assert (await subscriber.next("filled"))["floor"] == 8


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::", "fe80::1"])
def test_its_address_is_one_where_the_network_is_ipv6(host: str) -> None:
    parts = urlsplit(address_of(host, 8765))
    assert (parts.hostname, parts.port) == (host, 8765)
    assert hub_name(address_of(host, 8765)).endswith("-8765")


async def test_a_listeners_token_may_not_publish() -> None:
    both = settings(token="all", subscriber_token="listen")
    async with Hub(both) as hub:
        for role in ("subscriber", "tap"):
            for token in ("all", "listen"):
                async with RawClient(hub.url, role, token):
                    pass
        async with RawClient(hub.url, "publisher", "all"):
            pass
        for token in ("listen", "", "other"):
            with pytest.raises(ConnectionClosedError) as failure:
                await RawClient(hub.url, "publisher", token).__aenter__()
            assert failure.value.rcvd is not None
            assert failure.value.rcvd.code == 4401
        transport = WebSocketSettings(url=hub.url, subscriber_token=SecretStr("listen"))
        async with Subscriber(Settings(websocket=transport)):
            await until(lambda: hub.clients == 1)
    with pytest.raises(SettingsError, match="without it everybody may publish"):
        Hub(settings(token="", subscriber_token="listen"))


@pytest.mark.parametrize(
    ("first", "code"),
    [
        ('{"v":1,"kind":"hello","role":"subscriber","token":"wrong"}', 4401),
        ('{"v":1,"kind":"subscribe"}', 4400),
        ('{"v":1,"kind":"hello","role":"boss","token":"t"}', 4400),
        ('{"v":2,"kind":"hello"}', 4400),
        ("no json", 4400),
        ('{"v":1,"kind":"hello","role":"' + "x" * 1_500 + '"}', 4413),
        ('{"v":1,"kind":"hello","role":"' + "x" * 5_000 + '"}', 1009),
    ],
)
async def test_what_is_wrong_closes_with_its_own_code(first: str, code: int) -> None:
    async with (
        Hub(settings(max_frame_bytes=1_000)) as hub,
        connect(hub.url) as connection,
    ):
        await connection.send(first)
        with pytest.raises(ConnectionClosedError) as failure:  # noqa: PT012
            async with asyncio.timeout(10):
                while True:
                    frame = json.loads(await connection.recv())
                    assert (frame["kind"], frame["code"]) == ("error", code)
        assert failure.value.rcvd is not None
        assert failure.value.rcvd.code == code
        assert "wrong" not in failure.value.rcvd.reason or code == 4401


@pytest.mark.parametrize(
    ("role", "frame"),
    [
        ("publisher", {"kind": "subscribe"}),
        ("publisher", {"kind": "publish", "request": 1, "events": 3}),
        ("publisher", {"kind": "publish", "request": 1, "events": [{"source": "app"}]}),
        ("subscriber", {"kind": "publish", "request": 1, "events": []}),
        ("subscriber", {"kind": "subscribe", "partitions": [1]}),
        ("subscriber", {"kind": "subscribe", "partitions": None, "positions": [[1]]}),
        ("subscriber", {"kind": "fill", "source": "app"}),
        (
            "subscriber",
            {
                "kind": "fill",
                "source": "a",
                "epoch": 1,
                "topic": "t",
                "partition": 0,
                "first": 3,
                "last": 1,
            },
        ),
    ],
)
async def test_a_frame_out_of_place_closes_with_4400(role: str, frame: dict[str, Any]) -> None:
    async with Hub(settings()) as hub, RawClient(hub.url, role) as client:
        kind = frame.pop("kind")
        await client.send(kind, **frame)
        with pytest.raises(ConnectionClosedError) as failure:
            await client.next("never")
        assert failure.value.rcvd is not None
        assert failure.value.rcvd.code == 4400


async def test_a_client_without_hello_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossfade.local.hub.HELLO_S", 0.1)
    async with Hub(settings()) as hub, connect(hub.url) as connection:
        await connection.wait_closed()
        assert connection.close_code == 4408


@pytest.mark.parametrize(
    ("allowed", "origin", "code"),
    [
        ((), "https://evil.example", 4403),
        (("https://ours.example",), "https://evil.example", 4403),
        (("https://ours.example",), "https://ours.example", None),
        (("*",), "https://any.example", None),
    ],
)
async def test_browsers_need_an_allowed_origin(
    allowed: tuple[str, ...], origin: Any, code: int | None
) -> None:
    async with Hub(settings(origins=allowed)) as hub:
        client = RawClient(hub.url, origin=origin)
        if code is None:
            async with client:
                assert client.welcome["hub"] == hub.hub_id
            return
        with pytest.raises(ConnectionClosedError):
            await client.__aenter__()
        assert client.connection.close_code == code


async def test_a_client_that_does_not_read_is_closed_and_the_others_are_not() -> None:
    async with (
        Hub(settings(client_buffer_bytes=100_000)) as hub,
        RawClient(hub.url, "publisher") as publisher,
        RawClient(hub.url) as reader,
        # Its receive queue takes one frame; then the sockets' buffers fill.
        RawClient(hub.url, max_queue=1) as sleeper,
    ):
        await reader.subscribe()
        await sleeper.subscribe()
        data = json.dumps({"filler": "x" * 60_000})
        received = 0
        for n in range(1, 401):
            await publisher.publish(make_event(n, data=data), request=n)
            received += len(await reader.events(1))
            if hub.clients == 1:
                break
        assert received == n
        assert hub.clients == 1, "the client that does not read must be gone"
        with pytest.raises(ConnectionClosedError):  # noqa: PT012
            while True:
                await sleeper.next("events")
        assert sleeper.connection.close_code in {4429, 1006}


async def test_a_stopped_hub_says_restart() -> None:
    async with Hub(settings()) as hub:
        client = RawClient(hub.url)
        await client.__aenter__()
    await client.connection.wait_closed()
    assert client.connection.close_code == 1012


async def test_a_taken_port_is_said() -> None:
    async with Hub(settings()) as hub:
        with pytest.raises(PortTaken, match="cannot listen"):
            await Hub(settings(url=hub.url)).__aenter__()


async def test_when_the_newest_link_goes_the_older_one_answers_again() -> None:
    heads = [["app", 1, "critical", 0, 50, 1]]
    place = {"source": "app", "epoch": 1, "topic": "critical", "partition": 0}
    async with (
        Hub(settings()) as hub,
        RawClient(hub.url) as subscriber,
        RawClient(hub.url, "publisher") as older,
    ):
        await older.publish(heads=heads)
        async with RawClient(hub.url, "publisher") as newer:
            await newer.publish(heads=heads)
        await until(lambda: hub.publishers == 1)
        await subscriber.send("fill", request=1, **place, first=3, last=3)
        assert (await older.next("fill"))["first"] == 3


async def test_the_newest_link_of_a_source_answers_its_fills() -> None:
    heads = [["app", 1, "critical", 0, 50, 1]]
    place = {"source": "app", "epoch": 1, "topic": "critical", "partition": 0}
    async with (
        Hub(settings()) as hub,
        RawClient(hub.url) as subscriber,
        RawClient(hub.url, "publisher") as newer,
    ):
        async with RawClient(hub.url, "publisher") as older:
            await older.publish(heads=heads)
            await newer.publish(heads=heads)
        await until(lambda: hub.publishers == 1)
        await subscriber.send("fill", request=1, **place, first=3, last=3)
        asked = await newer.next("fill")
        await newer.send(
            "filled",
            request=asked["request"],
            events=[to_wire(make_event(3))],
            floor=1,
            head=50,
        )
        assert sequences((await subscriber.next("filled"))["events"]) == [3]
