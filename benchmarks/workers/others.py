"""What ours is compared with: a naive dual write, a bare hub, bare sockets. Nothing of ours."""

import asyncio
import time
from contextlib import AsyncExitStack, suppress
from typing import Any

import httpx
import orjson
from postgrest import APIError
from supabase import acreate_client
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from benchmarks.workers.speech import PARTITIONS, Order, content, say, words

__all__ = ["bare", "naive", "sockets"]


async def sockets(order: Order) -> None:
    """``clients`` bare sockets at a hub or at a naive server, which count events and no more."""
    total = order["count"] * order["clients"]
    seen, done = 0, asyncio.Event()

    async def listen(connection: Any) -> None:
        nonlocal seen
        async for raw in connection:
            frame = orjson.loads(raw)
            if frame.get("kind") in (None, "events"):
                seen += len(frame["events"])
                if seen >= total:
                    done.set()

    async with AsyncExitStack() as exits:
        tasks = []
        for _ in range(order["clients"]):
            connection = await exits.enter_async_context(
                connect(order["url"], compression=None, max_size=None, proxy=None)
            )
            if order.get("hello"):
                for frame in ({"kind": "hello", "role": "subscriber", "token": "t"},
                              {"kind": "subscribe", "request": 1, "partitions": None,
                               "positions": []}):  # fmt: skip
                    await connection.send(orjson.dumps({"v": 1, **frame}), text=True)
            tasks.append(asyncio.create_task(listen(connection)))
        await asyncio.sleep(0.3)
        say(ready=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(order["timeout_s"]):
                await done.wait()
        say(count=seen, last=time.monotonic())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def naive(order: Order) -> None:
    """A naive dual write: await the broadcast to every client, await one insert per event.

    With ``loses`` an insert that fails is counted and the next event comes: there is nothing
    that could give it again.
    """
    settings = order["settings"]
    client = await acreate_client(
        settings["supabase"]["url"], settings["supabase"]["service_role_key"]
    )
    clients: set[Any] = set()

    async def handle(connection: Any) -> None:
        clients.add(connection)
        await connection.wait_closed()
        clients.discard(connection)

    async with serve(handle, "127.0.0.1", order["port"], compression=None):
        say(ready=True)
        async for word in words():
            if word == "go":
                break
        started, lost = time.monotonic(), 0
        (topic,) = settings["classification"]["categories"]
        for number in range(order["count"]):
            row = {
                "id": f"{topic}-{number}", "source": settings["publisher"]["source"],
                "type": "made", "time": "2026-01-01T00:00:00Z", "subject": f"k{number % 97}",
                "category": topic, "topic": topic, "partition": 0, "epoch": 1,
                "sequence": number + 1, "hash": "0" * 16,
                "data": orjson.dumps(content(number)).decode(),
            }  # fmt: skip
            frame = orjson.dumps({"events": [row]}).decode()
            await asyncio.gather(*(one.send(frame) for one in clients))
            try:
                await client.rpc("crossfade_ingest_v1", {"batch": [row], "live": True}).execute()
            except (APIError, httpx.HTTPError):
                if not order.get("loses"):
                    raise
                lost += 1
        say(seconds=time.monotonic() - started, lost=lost)
        async for word in words():
            if word == "stop":
                break


async def bare(order: Order) -> None:
    """Publish frames to a hub as fast as it answers, with nothing of ours before it.

    The frames are as long as ours and of as many streams: hub and clients have the same to do.
    The first ``warm`` events go before it says that it is ready.
    """
    count, batch, warm = order["count"], order["batch"], order["warm"]
    (topic,) = order["settings"]["classification"]["categories"]
    source = order["settings"]["publisher"]["source"]
    async with connect(order["url"], compression=None, max_size=None, proxy=None) as connection:
        hello = {"v": 1, "kind": "hello", "role": "publisher", "instance": "bare", "token": "t"}
        await connection.send(orjson.dumps(hello), text=True)
        await connection.recv()
        started, busy = time.monotonic(), time.process_time()
        for start in range(0, count, batch):
            if start == warm:
                say(ready=True)
                started, busy = time.monotonic(), time.process_time()
            events = [
                {
                    "id": f"01a20ec1-cc59-727f-9bbe-{number:012x}", "source": source,
                    "type": "made", "time": "2026-01-01T00:00:00.000000Z",
                    "subject": f"k{number % 97}", "category": topic, "topic": topic,
                    "partition": number % PARTITIONS, "epoch": 1,
                    "sequence": number // PARTITIONS + 1, "hash": "0" * 16,
                    "committed": 1_700_000_000_000_000,
                    "data": orjson.dumps(content(number)).decode(),
                }
                for number in range(start, min(count, start + batch))
            ]  # fmt: skip
            frame = {"v": 1, "kind": "publish", "request": start, "events": events}
            await connection.send(orjson.dumps(frame), text=True)
            await connection.recv()
        say(started=started, seconds=time.monotonic() - started,
            cpu_s=time.process_time() - busy)  # fmt: skip
