"""What a transport of one hop costs with nothing of ours on it: floors for latencies."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import psycopg
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from benchmarks.workers.speech import PAD_BYTES

__all__ = ["notify_ms", "socket_ms"]

_PAD = "x" * PAD_BYTES
_TICK_S = 0.005
_LAST_S = 5.0


async def socket_ms(rate: int, seconds: float) -> list[float]:
    """Latencies through a bare WebSocket server that sends each text back to its one client."""
    found: list[float] = []

    async def echo(connection: ServerConnection) -> None:
        async for text in connection:
            await connection.send(text)

    async with serve(echo, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with connect(
            f"ws://127.0.0.1:{port}", compression=None, max_size=None, proxy=None
        ) as client:

            async def listen() -> None:
                async for text in client:
                    found.append(_since_ms(str(text)))

            await _paced(rate, seconds, client.send, listen, found)
    return found


async def notify_ms(database_url: str, rate: int, seconds: float) -> list[float]:
    """Latencies of a bare row a commit and its NOTIFY, to a connection that listens."""
    found: list[float] = []
    async with (
        await psycopg.AsyncConnection.connect(database_url, autocommit=True) as writer,
        await psycopg.AsyncConnection.connect(database_url, autocommit=True) as reader,
    ):
        await writer.execute("create table if not exists public.bench_floor (body text)")
        await reader.execute("listen bench_floor")

        async def write(text: str) -> None:
            await writer.execute(
                "with row as (insert into public.bench_floor values (%s) returning body) "
                "select pg_notify('bench_floor', body) from row",
                (text,),
            )

        async def listen() -> None:
            async for notice in reader.notifies():
                found.append(_since_ms(notice.payload))

        await _paced(rate, seconds, write, listen, found)
        await writer.execute("drop table public.bench_floor")
    return found


async def _paced(
    rate: int,
    seconds: float,
    send: Callable[[str], Awaitable[None]],
    listen: Callable[[], Coroutine[Any, Any, None]],
    found: list[float],
) -> None:
    """Send at ``rate`` until ``seconds`` are over; what cannot keep up is stamped when sent."""
    listening = asyncio.create_task(listen())
    sent, started = 0, time.monotonic()
    while (past := time.monotonic() - started) < seconds:
        while sent < int(past * rate) and time.monotonic() - started < seconds:
            await send(f"{time.time_ns()} {_PAD}")
            sent += 1
        await asyncio.sleep(_TICK_S)
    deadline = time.monotonic() + _LAST_S
    while len(found) < sent and time.monotonic() < deadline:  # noqa: ASYNC110 - polled from outside
        await asyncio.sleep(0.01)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


def _since_ms(text: str) -> float:
    return (time.time_ns() - int(text.split(" ", 1)[0])) / 1e6
