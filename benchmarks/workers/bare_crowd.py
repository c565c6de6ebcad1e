"""Many bare clients that switch all at once, close first and open then: a naive switch.

They know no position, no head and no overlap. So they are the floor of a switch in time (nobody
moves faster than closing one socket, opening another and subscribing), and what they miss or
get twice is what such a switch costs.
"""

import asyncio
import time
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from benchmarks.workers.speech import Order, say, words

__all__ = ["bare_crowd"]

_AT_ONCE = 10
"""Connections opened side by side at the start; a switch opens all of them."""
_PAUSE_S = 0.05
"""After an attempt that failed."""


async def bare_crowd(order: Order) -> None:
    """``clients`` of them; ``served 100`` moves all to Realtime, ``served 0`` to the hub."""
    clients = [_Client(order) for _ in range(order["clients"])]
    tasks = []
    for start in range(0, len(clients), _AT_ONCE):
        some = clients[start : start + _AT_ONCE]
        tasks += [asyncio.create_task(one.run()) for one in some]
        await asyncio.gather(*(one.joined.wait() for one in some))
    say(ready=True)
    async for word in words():
        if word.startswith("served "):
            started = time.monotonic()
            on_realtime = float(word.split()[1]) > 0
            async with asyncio.timeout(order["timeout_s"]):
                await asyncio.gather(*(one.move(on_realtime) for one in clients))
            say(moved_s=[one.joined_at - started for one in clients], failed=0)
        elif word == "watch":
            since_ns = time.time_ns()
            for one in clients:
                one.since_ns, one.first_s = since_ns, None
            say(watching=True)
        elif word == "watched":
            first_s = [one.first_s for one in clients if one.first_s is not None]
            say(first_s=first_s, missing=len(clients) - len(first_s), fallen_back=len(first_s))
        elif word == "report":
            say(
                counts=[len(one.seen) for one in clients],
                repeated=sum(one.repeated for one in clients),
            )
        elif word == "stop":
            break
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _Client:
    """One socket at a time. What ends without having been told to is Realtime: then the hub."""

    def __init__(self, order: Order) -> None:
        (self._topic,) = order["settings"]["classification"]["categories"]
        project = order["settings"]["supabase"]
        self._token = project["access_token"]
        query = urlencode({"apikey": project["anon_key"], "vsn": "1.0.0"})
        self._urls = {
            False: order["settings"]["websocket"]["url"],
            True: f"{project['url'].replace('http', 'ws', 1)}/realtime/v1/websocket?{query}",
        }
        self._on_realtime = order.get("served", 0) > 0
        self._told = False
        self._connection: ClientConnection | None = None
        self.joined = asyncio.Event()
        self.joined_at = 0.0
        self.seen: set[tuple[int, int]] = set()
        self.repeated = 0
        self.since_ns = 0
        self.first_s: float | None = None
        """From ``since_ns`` to the first event that was published after it."""

    async def move(self, on_realtime: bool) -> None:
        """Close, open on the other side, subscribe."""
        self.joined.clear()
        self._on_realtime, self._told = on_realtime, True
        if self._connection is not None:
            await self._connection.close()
        await self.joined.wait()

    async def run(self) -> None:
        while True:
            was_joined = False
            with suppress(OSError, TimeoutError, WebSocketException):
                async with connect(
                    self._urls[self._on_realtime], compression=None, max_size=None, proxy=None,
                    close_timeout=1,
                ) as self._connection:  # fmt: skip
                    await self._subscribe(self._connection)
                    was_joined = True
                    async for raw in self._connection:
                        self._take(orjson.loads(raw))
            if self._told:
                self._told = False
            elif was_joined:
                self._on_realtime = False
            else:
                await asyncio.sleep(_PAUSE_S)

    async def _subscribe(self, connection: ClientConnection) -> None:
        for frame in self._join() if self._on_realtime else _hello():
            await connection.send(orjson.dumps(frame), text=True)
        async for raw in connection:
            frame = orjson.loads(raw)
            if frame.get("kind") == "subscribed" or (
                frame.get("event") == "phx_reply" and frame["payload"]["status"] == "ok"
            ):
                break
            self._take(frame)
        self.joined_at = time.monotonic()
        self.joined.set()

    def _join(self) -> list[dict[str, Any]]:
        config = {"private": True, "broadcast": {"ack": False, "self": False}}
        return [
            {
                "topic": f"realtime:crossfade:{self._topic}", "event": "phx_join", "ref": "1",
                "join_ref": "1", "payload": {"config": config, "access_token": self._token},
            }
        ]  # fmt: skip

    def _take(self, frame: dict[str, Any]) -> None:
        if frame.get("event") == "broadcast":
            frame = frame["payload"]["payload"]
        for event in frame.get("events") or ():
            place = event["partition"], event["sequence"]
            self.repeated += place in self.seen
            self.seen.add(place)
            if self.since_ns and self.first_s is None:
                published_ns = orjson.loads(event["data"])["t"]
                if published_ns > self.since_ns:
                    self.first_s = (time.time_ns() - self.since_ns) / 1e9


def _hello() -> list[dict[str, Any]]:
    subscribe = {"kind": "subscribe", "request": 1, "partitions": None, "positions": []}
    return [{"v": 1, "kind": "hello", "role": "subscriber", "token": "t"}, {"v": 1, **subscribe}]
