"""Publisher, hub and client over real sockets; hub and publisher die in real processes.

The client is nothing but the protocol and resumes by position, as a subscriber does; what it
must end with is 1, 2, 3, … per partition, whatever died in between.
"""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from crossfade import Publisher
from crossfade.adapters.journal_reader import JournalReader
from crossfade.core.breaker import BreakerState
from crossfade.core.event import to_wire
from crossfade.local.hub import Hub
from crossfade.settings import WebSocketSettings
from tests.integration.hub_process import HubProcess
from tests.integration.publishers import make_settings
from tests.integration.raw_client import RawClient, until


class Follower:
    """Connects, resumes by position, asks for what heads say is missing, for ever."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.events: dict[tuple[Any, ...], dict[int, dict[str, Any]]] = defaultdict(dict)
        self.doubled = 0
        self.filled = 0
        self.connections = 0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Follower":
        self._task = asyncio.create_task(self._run())
        await until(lambda: self.connections)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    @property
    def count(self) -> int:
        return sum(map(len, self.events.values()))

    def next(self, place: tuple[Any, ...]) -> int:
        held = self.events[place]
        number = 1
        while number in held:
            number += 1
        return number

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(OSError, ConnectionClosed, TimeoutError):
                async with RawClient(self.url) as client:
                    positions = [[*place, self.next(place)] for place in self.events]
                    await client.subscribe(None, positions)
                    self.connections += 1
                    for frame in client.frames:
                        await self._handle(client, frame)
                    while True:
                        client.frames.clear()
                        await self._handle(client, await self._any(client))
            await asyncio.sleep(0.05)

    async def _any(self, client: RawClient) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(await client.connection.recv())
        return frame

    async def _handle(self, client: RawClient, frame: dict[str, Any]) -> None:
        if frame["kind"] in {"events", "filled"}:
            for event in frame["events"]:
                place = tuple(event[name] for name in ("source", "epoch", "topic", "partition"))
                known = self.events[place].setdefault(event["sequence"], event)
                if known is not event:
                    assert known == event
                    self.doubled += 1
                elif frame["kind"] == "filled":
                    self.filled += 1
        elif frame["kind"] == "heads":
            for *place, head, _floor in frame["heads"]:
                first = self.next(tuple(place))
                if first <= head:
                    names = dict(zip(("source", "epoch", "topic", "partition"), place, strict=True))
                    await client.send("fill", request=1, **names, first=first, last=head)


def journaled(path: Path) -> dict[tuple[Any, ...], dict[int, dict[str, Any]]]:
    with JournalReader(path) as reader:
        return {
            tuple(one.stream): {
                event.sequence: to_wire(event)
                for event in reader.read(one.stream, 1, one.head, limit=10**6)
            }
            for one in reader.streams()
        }


async def test_events_reach_a_client_unchanged_and_fills_come_from_the_journal(
    tmp_path: Path,
) -> None:
    hub_settings = WebSocketSettings(url="ws://127.0.0.1:0", history_events=10, heads_s=0.1)
    async with Hub(hub_settings) as hub:
        settings = make_settings(tmp_path, websocket={"url": hub.url})
        async with Publisher(settings) as publisher:
            await until(lambda: hub.publishers)
            events = await publisher.publish_many(
                {"type": "t", "data": {"n": n, "text": 'é"\\\n'}, "key": str(n)} for n in range(500)
            )
            await until(lambda: publisher.owed["websocket"] == 0)
            async with RawClient(hub.url) as client:
                heads = (await client.subscribe())["heads"]
            # Although the hub holds ten events only, it knows where the journal begins.
            assert {tuple(row[3:]) for row in heads} == {
                (partition, head.sequence, 1)
                for head in publisher._journal.heads()
                for partition in [head.stream.partition]
            }
            # It came too late for the history: everything older is asked of the publisher.
            async with Follower(hub.url) as follower:
                await until(lambda: follower.count == 500)
                assert follower.filled >= 490
            assert dict(follower.events) == journaled(settings.journal.path)
            assert len(events) == 500


async def test_a_hub_that_is_killed_and_restarted_loses_nothing(tmp_path: Path) -> None:
    async with HubProcess(tmp_path) as hub:
        settings = make_settings(tmp_path, websocket={"url": hub.url})
        async with Publisher(settings) as publisher, Follower(hub.url) as follower:
            published = 0

            async def publish(count: int) -> None:
                nonlocal published
                for _ in range(count):
                    published += 1
                    await publisher.publish("t", {"n": published}, key=f"key-{published % 7}")

            await publish(200)
            background = asyncio.create_task(publish(400))
            await until(lambda: follower.count > 150)
            assert await hub.stop(signal.SIGKILL) == -signal.SIGKILL
            await background
            await until(lambda: publisher.owed["websocket"] > 0)
            await hub.start()
            await publish(100)
            await until(lambda: follower.count == published)
            assert await hub.stop(signal.SIGTERM) == 0
            await hub.start()
            await publish(10)
            await until(lambda: follower.count == published)
            assert follower.connections == 3
        assert dict(follower.events) == journaled(settings.journal.path)


async def test_the_last_events_before_a_hubs_death_are_found_by_its_successors_heads(
    tmp_path: Path,
) -> None:
    """Handed over, then lost with the hub, and nothing published afterwards: heads tell."""
    async with HubProcess(tmp_path) as hub:
        settings = make_settings(tmp_path, websocket={"url": hub.url})
        async with Publisher(settings) as publisher:
            await publisher.publish_many({"type": "t", "data": n} for n in range(20))
            await until(lambda: publisher.owed["websocket"] == 0)
            await hub.stop(signal.SIGKILL)
            await hub.start()
            async with Follower(hub.url) as follower:
                await until(lambda: follower.count == 20)


async def test_a_publisher_that_is_killed_in_mid_stream_loses_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    count = 600
    hub_settings = WebSocketSettings(url="ws://127.0.0.1:0", heads_s=0.1)
    arguments = [sys.executable, "-m", "tests.integration.publisher_child", str(tmp_path)]
    async with Hub(hub_settings) as hub, Follower(hub.url) as follower:
        for kill_after in (100, 300, None):
            process = await asyncio.create_subprocess_exec(
                *arguments, hub.url, str(count), stdout=subprocess.PIPE
            )
            try:
                assert process.stdout is not None
                assert await process.stdout.readline() == b"ready\n"
                lines = 0
                last = b""
                while line := await process.stdout.readline():
                    last = line
                    lines += 1
                    if lines == kill_after:
                        process.send_signal(signal.SIGKILL)
                await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        assert last == b"closed {}\n"
        await until(lambda: follower.count == count)
        stored = journaled(tmp_path / "journal.db")
        assert dict(follower.events) == stored
        ids = [event["id"] for held in stored.values() for event in held.values()]
        assert sorted(ids) == sorted(f"event-{number}" for number in range(count))
        for held in stored.values():
            assert sorted(held) == list(range(1, len(held) + 1))
        # The hub lives and drops what it was given before.
        assert follower.doubled == 0


async def test_events_are_owed_until_the_hub_says_that_it_has_them(tmp_path: Path) -> None:
    answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    answering = asyncio.Event()

    async def half_a_hub(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send('{"v":1,"kind":"welcome","hub":"h","heads":[]}')
        async for raw in connection:
            frame = json.loads(raw)
            if frame["events"]:
                await answers.put(frame)
                await answering.wait()
            await connection.send(
                json.dumps({"v": 1, "kind": "published", "request": frame["request"]})
            )

    async with serve(half_a_hub, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        settings = make_settings(tmp_path, websocket={"url": f"ws://127.0.0.1:{port}"})
        async with Publisher(settings) as publisher:
            await publisher.publish("t", 1)
            frame = await asyncio.wait_for(answers.get(), 10)
            assert len(frame["events"]) == 1
            await asyncio.sleep(0.05)
            assert publisher.owed["websocket"] == 1
            answering.set()
            await until(lambda: publisher.owed["websocket"] == 0)


async def test_a_hub_that_is_back_is_used_at_once_whatever_the_breaker_meant_to_wait(
    tmp_path: Path,
) -> None:
    hub = HubProcess(tmp_path)
    settings = make_settings(
        tmp_path, websocket={"url": hub.url}, breaker={"open_s": 600, "open_max_s": 600}
    )
    async with Publisher(settings) as publisher:
        await publisher.publish("t", 1)
        await until(lambda: publisher.breakers["websocket"] is BreakerState.OPEN)
        async with hub:
            await until(lambda: publisher.owed["websocket"] == 0)
            assert publisher.breakers["websocket"] is BreakerState.CLOSED


async def test_a_wrong_token_is_told_and_the_events_stay_owed(tmp_path: Path) -> None:
    hub_settings = WebSocketSettings(url="ws://127.0.0.1:0", token="right")
    async with Hub(hub_settings) as hub:
        settings = make_settings(tmp_path, websocket={"url": hub.url}, publisher={"drain_s": 0})
        async with Publisher(settings) as publisher:
            await publisher.publish("t", 1)
            relay = publisher._relays["websocket"]
            await until(lambda: "4401" in relay.last_error)
            assert "wrong token" in relay.last_error
            assert publisher.owed["websocket"] == 1


@pytest.mark.parametrize("taken", [True, False])
async def test_the_hubs_command_tells_what_is_wrong(tmp_path: Path, taken: bool) -> None:
    async with HubProcess(tmp_path) as hub:
        path = tmp_path / ("hub.toml" if taken else "nowhere.toml")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "crossfade.local.hub_process", "--settings", str(path)),
            stderr=subprocess.PIPE,
        )
        _, text = await process.communicate()
        assert process.returncode == 2
        last = text.decode().strip().splitlines()[-1]
        assert last.startswith("hub: ")
        assert (hub.url if taken else "nowhere.toml") in last
