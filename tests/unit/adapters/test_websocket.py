"""The WebSocket transport against a scripted hub; ``tests/integration`` has the real one."""

import asyncio
import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import pytest
from pydantic import SecretStr
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from crossfade.adapters.websocket import WebSocketTransport, readable_events
from crossfade.core.event import Event, Head, Stream, content_hash, to_wire
from crossfade.errors import StoreUnreachable
from crossfade.ports import FillPage
from crossfade.settings import WebSocketSettings
from tests.unit.adapters.listening import Notes, wait_for

STREAM = Stream("app", 1, "critical", 3)


def make_event(sequence: int) -> Event:
    event = Event(
        f"e{sequence}", "app", "t", sequence, "", "critical", "critical", 3, 1, sequence, "{}", 0
    )
    return event._replace(hash=content_hash(event))


class ScriptedHub:
    """Says welcome and subscribed as a hub does; the rest is the test's."""

    def __init__(self) -> None:
        self.hellos: list[dict[str, Any]] = []
        self.frames: list[dict[str, Any]] = []
        self.sockets: list[ServerConnection] = []
        self.welcome: dict[str, Any] = {"hub": "h", "heads": [[*STREAM, 9, 1]]}
        self.refusal: tuple[int, str] | None = None
        self.subscribes = True
        self.heads_s: float | None = 0.05
        self._server: Server
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await serve(self._serve, "127.0.0.1", 0, compression=None)
        self.url = f"ws://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, socket: ServerConnection) -> None:
        try:
            self.hellos.append(json.loads(await socket.recv()))
            if self.refusal is not None:
                code, message = self.refusal
                await self.send("error", code=code, message=message, to=socket)
                await socket.close(code, message)
                return
            await self.send("welcome", **self.welcome, to=socket)
            self.sockets.append(socket)
            beat = asyncio.create_task(self._beat(socket))
            try:
                async for raw in socket:
                    frame = json.loads(raw)
                    self.frames.append(frame)
                    if frame["kind"] == "subscribe" and self.subscribes:
                        rows = [[*STREAM, 9, 1]]
                        await self.send(
                            "subscribed", request=frame["request"], heads=rows, to=socket
                        )
            finally:
                beat.cancel()
                self.sockets.remove(socket)
        except ConnectionClosed:
            return

    async def _beat(self, socket: ServerConnection) -> None:
        while self.heads_s is not None:
            await asyncio.sleep(self.heads_s)
            await self.send("heads", at_us=1, heads=[[*STREAM, 9, 1]], to=socket)

    async def send(self, kind: str, *, to: ServerConnection | None = None, **fields: Any) -> None:
        text = json.dumps({"v": 1, "kind": kind, **fields})
        for socket in [to] if to is not None else list(self.sockets):
            await socket.send(text)

    def subscriptions(self) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["kind"] == "subscribe"]


def transport(
    hub: ScriptedHub,
    notes: Notes,
    positions: Mapping[Stream, int] | None = None,
    **options: Any,
) -> WebSocketTransport:
    values: dict[str, Any] = {
        "deaf_s": 0.5,
        "retry_initial_s": 0.01,
        "retry_max_s": 0.05,
        **options,
    }
    return WebSocketTransport(
        WebSocketSettings(url=hub.url, token=SecretStr("secret-token")),
        notes,
        role="subscriber",
        instance="me",
        positions=lambda: dict(positions or {}),
        **values,
    )


async def test_it_greets_meets_and_subscribes_by_position() -> None:
    notes = Notes()
    async with ScriptedHub() as hub, transport(hub, notes, {STREAM: 4}) as websocket:
        websocket.want({"critical": frozenset({3, 1}), "debug": None})
        await wait_for(lambda: notes.heads_seen and notes.reasons("joined"))
        assert hub.hellos == [
            {
                "v": 1,
                "kind": "hello",
                "role": "subscriber",
                "instance": "me",
                "token": "secret-token",
            }
        ]
        last = hub.subscriptions()[-1]
        assert last["partitions"] == {"critical": [1, 3], "debug": None}
        assert last["positions"] == [["app", 1, "critical", 3, 4]]
        assert notes.reasons("met")[0] == [Head(STREAM, 9, 1)]
        assert notes.reasons("joined")[-1] == {"critical": frozenset({3, 1}), "debug": None}
        await hub.send("events", events=[to_wire(make_event(4))])
        await wait_for(lambda: notes.seen == [make_event(4)])
        assert websocket.connected
    assert notes.reasons("left") == ["closed"]


async def test_another_wish_subscribes_again_on_the_same_connection() -> None:
    notes = Notes()
    positions = {STREAM: 4}
    async with ScriptedHub() as hub, transport(hub, notes, positions) as websocket:
        websocket.want({"critical": None})
        await wait_for(lambda: {"critical": None} in notes.reasons("joined"))
        websocket.want(None)
        await wait_for(lambda: notes.reasons("joined")[-1] is None)
        assert hub.subscriptions()[-1]["partitions"] is None
        assert websocket.connections == 1


async def test_heads_carry_the_coverage_that_was_acknowledged_not_the_one_asked_for() -> None:
    notes = Notes()
    async with ScriptedHub() as hub, transport(hub, notes) as websocket:
        websocket.want({"critical": None})
        await wait_for(lambda: any(one[2] == {"critical": None} for one in notes.heads_seen))
        hub.subscribes = False
        websocket.want({"critical": None, "debug": None})
        await wait_for(lambda: len(hub.subscriptions()) >= 2)
        count = len(notes.heads_seen)
        await wait_for(lambda: len(notes.heads_seen) > count + 2)
        assert notes.heads_seen[-1][2] == {"critical": None}


async def test_a_lost_connection_comes_back_and_resumes() -> None:
    notes = Notes()
    positions = {STREAM: 4}
    async with ScriptedHub() as hub, transport(hub, notes, positions) as websocket:
        websocket.want({"critical": None})
        await wait_for(lambda: notes.heads_seen)
        positions[STREAM] = 8
        await hub.sockets[0].close(4429, "too slow")
        await wait_for(lambda: websocket.connections == 2 and len(hub.sockets) == 1)
        await wait_for(lambda: hub.subscriptions()[-1]["positions"][0][4] == 8)
        assert notes.reasons("left") == ["closed with 4429 too slow"]
        assert notes.reasons("failed") == []


async def test_a_hub_that_falls_silent_is_left() -> None:
    notes = Notes()
    async with ScriptedHub() as hub, transport(hub, notes, deaf_s=0.2) as websocket:
        hub.heads_s = None
        websocket.want({"critical": None})
        await wait_for(lambda: websocket.connections == 2)
        assert notes.reasons("left")[0] == "no frame for 0.2 s"
        assert notes.reasons("failed")[0] == "no frame for 0.2 s", "welcome alone is no success"


async def test_a_consumer_that_is_behind_does_not_make_the_hub_deaf() -> None:
    notes = Notes()
    async with ScriptedHub() as hub, transport(hub, notes, deaf_s=0.2) as websocket:
        websocket.want({"critical": None})
        await wait_for(lambda: notes.heads_seen)
        notes.open.clear()
        await asyncio.sleep(0.6)
        notes.open.set()
        count = len(notes.heads_seen)
        await wait_for(lambda: len(notes.heads_seen) > count + 3)
        assert websocket.connections == 1


async def test_i10_it_reads_no_further_than_there_is_room() -> None:
    notes = Notes()
    async with ScriptedHub() as hub, transport(hub, notes) as websocket:
        websocket.want({"critical": None})
        await wait_for(lambda: notes.heads_seen)
        notes.open.clear()
        for sequence in range(1, 30):
            await hub.send("events", events=[to_wire(make_event(sequence))])
        await asyncio.sleep(0.1)
        # The frame it was waiting for when the room ended is still taken.
        assert len(notes.seen) <= 1
        notes.open.set()
        await wait_for(lambda: len(notes.seen) == 29)


async def test_a_refusal_is_told_with_its_code_and_without_the_token() -> None:
    notes = Notes()
    async with ScriptedHub() as hub:
        hub.refusal = (4401, "wrong token")
        async with transport(hub, notes):
            await wait_for(lambda: len(notes.reasons("failed")) >= 5)
    assert "4401 wrong token" in notes.reasons("failed")[0]
    assert "secret-token" not in str(notes.calls)


async def test_pauses_have_full_jitter_and_grow_to_their_limit() -> None:
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return 0.0

    async with ScriptedHub() as hub:
        hub.refusal = (1013, "later")
        options = {"retry_initial_s": 0.1, "retry_max_s": 0.5, "uniform": uniform}
        async with transport(hub, Notes(), **options):
            await wait_for(lambda: len(asked) >= 5)
    assert asked[:5] == [(0.0, 0.2), (0.0, 0.4), (0.0, 0.5), (0.0, 0.5), (0.0, 0.5)]


async def test_fills_are_asked_and_answered_in_any_order() -> None:
    notes = Notes()
    async with ScriptedHub() as hub, transport(hub, notes) as websocket:
        await wait_for(lambda: websocket.connected)
        first = asyncio.create_task(websocket.fill(STREAM, 1, 2))
        second = asyncio.create_task(websocket.fill(STREAM, 5, 5))
        await wait_for(lambda: sum(frame["kind"] == "fill" for frame in hub.frames) == 2)
        asked = {f["first"]: f for f in hub.frames if f["kind"] == "fill"}
        assert asked[1] == {
            "v": 1,
            "kind": "fill",
            "request": asked[1]["request"],
            **STREAM._asdict(),
            "first": 1,
            "last": 2,
        }
        await hub.send("filled", request=asked[5]["request"], events=[], floor=None, head=None)
        page = [to_wire(make_event(1)), {"broken": 1}]
        await hub.send("filled", request=asked[1]["request"], events=page, floor=1, head=9)
        assert await second == FillPage([], None, None)
        assert await first == FillPage([make_event(1)], 1, 9)
        await hub.send("filled", request=999, events=[])  # nobody asked: ignored
        assert websocket.connections == 1


async def test_a_fill_without_a_connection_or_an_answer_is_unreachable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notes = Notes()
    async with ScriptedHub() as hub, transport(hub, notes) as websocket:
        with pytest.raises(StoreUnreachable, match="not connected yet"):
            await websocket.fill(STREAM, 1, 1)
        await wait_for(lambda: websocket.connected)
        lost = asyncio.create_task(websocket.fill(STREAM, 1, 1))
        await wait_for(lambda: any(frame["kind"] == "fill" for frame in hub.frames))
        await hub.sockets[0].close(1012, "restart")
        with pytest.raises(StoreUnreachable, match="1012 restart"):
            await lost
        await wait_for(lambda: websocket.connections == 2)
        monkeypatch.setattr("crossfade.adapters.websocket.FILL_S", 0.1)
        with pytest.raises(StoreUnreachable, match=r"no fill within 0.1 s"):
            await websocket.fill(STREAM, 1, 1)
        monkeypatch.setattr("crossfade.adapters.websocket.FILL_S", 8.0)
        odd = asyncio.create_task(websocket.fill(STREAM, 2, 2))
        await wait_for(lambda: hub.frames[-1].get("first") == 2)
        await hub.send("filled", request=hub.frames[-1]["request"], events=[], floor="x", head=1)
        with pytest.raises(StoreUnreachable, match="fill: invalid literal"):
            await odd


async def test_a_frame_that_can_not_be_read_ends_the_connection() -> None:
    notes = Notes()
    async with ScriptedHub() as hub, transport(hub, notes) as websocket:
        websocket.want({"critical": None})
        await wait_for(lambda: notes.heads_seen)
        await hub.sockets[0].send("no json")
        await wait_for(lambda: websocket.connections == 2)
        assert "not valid JSON" in notes.reasons("left")[0]


def test_unreadable_events_are_left_out() -> None:
    good = to_wire(make_event(1))
    assert readable_events({"events": [good]}, "here") == [make_event(1)]
    assert readable_events({"events": [{"id": 1}, good, 7, None]}, "here") == [make_event(1)]
    assert readable_events({}, "here") == []
