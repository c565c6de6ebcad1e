"""A client of the hub that is nothing but the protocol, so that it cannot share a bug with ours."""

import asyncio
import json
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect

from crossfade.core.event import Event, content_hash, to_wire


def make_event(sequence: int, *, topic: str = "critical", partition: int = 0, **more: Any) -> Event:
    event = Event(
        id=more.get("id", f"{topic}-{partition}-{sequence}"),
        source=more.get("source", "app"),
        type="flight.departed",
        time_us=1_700_000_000_000_000 + sequence,
        subject="N711MQ",
        category=topic,
        topic=topic,
        partition=partition,
        epoch=1,
        sequence=sequence,
        data=more.get("data", f'{{"n":{sequence}}}'),
        hash=0,
    )
    return event._replace(hash=content_hash(event))


class RawClient:
    def __init__(
        self, url: str, role: str = "subscriber", token: str = "t", **options: Any
    ) -> None:
        self.url = url
        self.role = role
        self.token = token
        self.options = options
        self.connection: ClientConnection
        self.welcome: dict[str, Any] = {}
        self.frames: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        self.connection = await connect(self.url, compression=None, max_size=None, **self.options)
        await self.send("hello", role=self.role, instance="raw", token=self.token)
        self.welcome = await self.next("welcome")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.connection.close()

    async def send(self, kind: str, **fields: Any) -> None:
        await self.connection.send(json.dumps({"v": 1, "kind": kind, **fields}))

    async def next(self, kind: str) -> dict[str, Any]:
        """The next frame of this kind; the others are kept in ``frames``."""
        async with asyncio.timeout(10):
            while True:
                frame: dict[str, Any] = json.loads(await self.connection.recv())
                if frame["kind"] == kind:
                    return frame
                self.frames.append(frame)

    async def subscribe(self, partitions: Any = None, positions: Any = ()) -> dict[str, Any]:
        await self.send("subscribe", request=1, partitions=partitions, positions=list(positions))
        return await self.next("subscribed")

    async def publish(self, *events: Event, request: int = 1, heads: Any = None) -> None:
        more = {} if heads is None else {"heads": heads}
        wire = [to_wire(event) for event in events]
        await self.send("publish", request=request, events=wire, **more)
        assert (await self.next("published"))["request"] == request

    async def events(self, count: int) -> list[dict[str, Any]]:
        """The next ``count`` events."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            found.extend((await self.next("events"))["events"])
        assert len(found) == count
        return found


async def until(condition: Callable[[], Any], timeout_s: float = 30.0) -> None:
    """Poll until ``condition`` holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - polled on purpose
            await asyncio.sleep(0.01)
