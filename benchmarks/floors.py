"""What a transport of one hop, or the table alone, does with nothing of ours before it: floors."""

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import psycopg
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from benchmarks.workers.speech import PAD_BYTES, content
from crossfade.core.canonical import canonical_json
from crossfade.core.event import Draft, Event, format_time, placed, uuid7
from crossfade.core.frames import encode_event

__all__ = ["copy_rate", "ingest_rate", "notify_ms", "socket_ms"]

_PAD = "x" * PAD_BYTES
_SOURCE = f"floor-{os.getpid()}"
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


def ingest_rate(database_url: str, batch: int, batches: int) -> float:
    """Events a second of ``crossfade_ingest_v1`` itself, one call after the other, no HTTP."""
    seconds = []
    with psycopg.connect(database_url, autocommit=True) as connection:
        for number in range(batches):
            rows = b",".join(map(encode_event, _events(batch, number)))
            started = time.monotonic()
            connection.execute(
                "select public.crossfade_ingest_v1(%s::json)", (f"[{rows.decode()}]",)
            )
            seconds.append(time.monotonic() - started)
    return batch / statistics.median(seconds)


def copy_rate(database_url: str, batch: int, batches: int) -> float:
    """Rows a second by COPY of the same events into a bare table: what no insert can beat."""
    seconds = []
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "create table public.bench_copy (id text, source text, type text, "
            '"time" timestamptz, subject text, category text, topic text, partition integer, '
            "epoch bigint, sequence bigint, data text, checksum bigint)"
        )
        try:
            for number in range(batches):
                events = _events(batch, number)
                started = time.monotonic()
                with connection.cursor().copy("copy public.bench_copy from stdin") as copy:
                    for one in events:
                        copy.write_row((*one[:3], format_time(one.time_us), *one[4:12]))
                seconds.append(time.monotonic() - started)
        finally:
            connection.execute("drop table public.bench_copy")
    return batch / statistics.median(seconds)


def _events(count: int, number: int) -> list[Event]:
    """The batch of this number, of one source and fifty partitions."""
    found = []
    for place in range(number * count, (number + 1) * count):
        now_us = time.time_ns() // 1_000
        key, text = f"k{place % 97}", canonical_json(content(place))
        draft = Draft(
            uuid7(now_us, os.urandom(10)), "made", now_us, key, "floor", "floor", place % 50, text
        )
        found.append(placed(draft, _SOURCE, 1, place // 50 + 1, now_us))
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
