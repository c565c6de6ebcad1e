"""How a worker and its bench talk: JSON lines up, words down; what events look like."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson

from crossfade.core.flags import EVERYTHING, Flags

__all__ = ["PAD_BYTES", "PARTITIONS", "Order", "content", "flags_of", "say", "words"]

Order = dict[str, Any]
PAD_BYTES = 300
"""Content of one event, as canonical JSON."""
PARTITIONS = 50
"""Of the benches' one topic, unless an order says otherwise."""


def say(**values: Any) -> None:
    sys.stdout.buffer.write(orjson.dumps(values) + b"\n")
    sys.stdout.buffer.flush()


async def words() -> AsyncIterator[str]:
    """The words that the bench says, a line each."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    async for line in reader:
        yield line.decode().strip()


def flags_of(order: Order, version: int, served: float) -> Flags:
    (topic,) = order["settings"]["classification"]["categories"]
    return Flags(
        version=version,
        partitions=order.get("partitions", PARTITIONS),
        topics={topic: topic},
        written={EVERYTHING: order.get("written", 0)},
        served={EVERYTHING: served},
    )


def content(number: int) -> dict[str, Any]:
    """An event's content, 300 bytes as canonical JSON; ``t`` is when it was published, in ns."""
    body = {"n": number, "pad": "", "t": time.time_ns()}
    body["pad"] = "x" * (PAD_BYTES - len(orjson.dumps(body)))
    return body
