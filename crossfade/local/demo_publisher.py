"""The demo's publisher: an application that publishes the flights, as a process of its own.

It reads its pace from standard input (``rate N`` or ``rate max``, a line each) and writes how
many events are durable to standard output, a JSON object a line. When every event is
published it says so and stays, as an application does, until SIGTERM.
"""

import argparse
import asyncio
import itertools
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import orjson

from crossfade.adapters.supabase import SupabaseEventStore
from crossfade.local.demo_process import run_until_sigterm
from crossfade.local.input_lines import open_lines, parsed
from crossfade.local.replay import LineSource, Pace, replay
from crossfade.ports import EventStore
from crossfade.publisher import Publisher
from crossfade.settings import Settings
from crossfade.testing import DroppingStore

__all__ = ["main"]


async def _run(options: argparse.Namespace, settings: Settings) -> None:
    pace = Pace(rate=options.rate)
    async with AsyncExitStack() as exits:
        store: EventStore | None = None
        if options.drop is not None:
            inner = await exits.enter_async_context(SupabaseEventStore.for_publisher(settings))
            store = DroppingStore(inner, lambda event: event.id == options.drop)
        lines = exits.enter_context(open_lines(options.events))
        publisher = await exits.enter_async_context(Publisher(settings, store=store))
        listening = asyncio.create_task(_listen(pace))
        exits.callback(listening.cancel)
        source = LineSource(itertools.islice(parsed(lines, str(options.events)), options.limit))
        count = 0

        def tell(published: int) -> None:
            nonlocal count
            count = published
            _write({"published": published, "done": False})

        await replay(publisher, source, str(options.events), pace, tell)
        _write({"published": count, "done": True})
        await asyncio.Event().wait()


def _write(progress: dict[str, int | bool]) -> None:
    sys.stdout.buffer.write(orjson.dumps(progress) + b"\n")
    sys.stdout.buffer.flush()


async def _listen(pace: Pace) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        word, _, value = line.decode().strip().partition(" ")
        if word == "rate":
            pace.rate = None if value == "max" else float(value)


def main() -> int:
    """Entry point; exit status 1 when it could not publish everything."""
    parser = argparse.ArgumentParser(description="The demo's publisher.")
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--events", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--rate", type=float, default=None)
    parser.add_argument("--drop", default=None, help="sabotage: this id never reaches Supabase")
    options = parser.parse_args()
    return run_until_sigterm("publisher", options, _run)


if __name__ == "__main__":
    sys.exit(main())
