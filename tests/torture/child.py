"""One process of a torture case: ``python -m tests.torture.child ROLE FILE``.

``FILE`` holds the order as JSON (0600: it names a project's keys). The process tells its
progress by lines in a file of marks: ``ready``, ``stopped`` (at the point it was armed with),
``drained``.
"""

import asyncio
import logging
import os
import random
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson

from crossfade.adapters.memory import StaticFlags
from crossfade.core.event import Event
from crossfade.core.flags import EVERYTHING, Flags
from crossfade.settings import Settings
from tests.torture.effects import Effects
from tests.torture.seams import arm

Order = dict[str, Any]
POISON = 97
"""Where poison is asked for, the store refuses events whose number is a multiple of it."""


def flags_of(order: Order) -> StaticFlags:
    """Half of the partitions are served by Realtime, all are written."""
    return StaticFlags(
        Flags(
            version=1,
            partitions=order["partitions"],
            topics={order["topic"]: order["topic"]},
            written={EVERYTHING: 100},
            served={EVERYTHING: 50},
        )
    )


def mark(order: Order, word: str) -> None:
    with Path(order["marks"]).open("a") as file:
        file.write(f"{word}\n")


def words_of(path: Path) -> set[str]:
    return set(path.read_text().split()) if path.exists() else set()


async def publisher(order: Order, settings: Settings) -> None:
    """Publish what nobody has acknowledged yet; then wait until nothing is owed."""
    from crossfade.adapters.supabase import SupabaseEventStore
    from crossfade.publisher import Publisher
    from crossfade.testing import FaultyStore

    known = words_of(Path(order["acknowledged"]))
    log = os.open(order["acknowledged"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    dice = random.Random(order["seed"])
    todo = [line for line in order["input"] if line["id"] not in known]
    async with AsyncExitStack() as exits:
        store = await exits.enter_async_context(SupabaseEventStore.for_publisher(settings))
        faulty = FaultyStore(store)
        if order["poison"]:
            faulty.poison = is_poison
        running = await exits.enter_async_context(
            Publisher(settings, store=faulty, flags=flags_of(order))
        )
        mark(order, "ready")
        while todo:
            count = dice.randint(1, 20)
            batch, todo = todo[:count], todo[count:]
            events = await running.publish_many(batch)
            os.write(log, "".join(f"{event.id}\n" for event in events).encode())
            await asyncio.sleep(dice.random() * 0.01)
        while any(running.owed.values()):  # noqa: ASYNC110 - from outside there is only polling
            await asyncio.sleep(0.01)
        if order["prunes"]:
            await asyncio.sleep(0.5)  # what every sink has may now go
        await running.close()
        mark(order, "drained")


async def source(order: Order, settings: Settings) -> None:
    """Publish at a steady rate, one number after the other, until the file ``stop`` is there."""
    from crossfade.publisher import Publisher

    # After a crash it goes on behind the last number it was told is durable.
    known = words_of(Path(order["acknowledged"]))
    number = max((int(id_.rpartition("-")[2]) for id_ in known), default=0)
    log = os.open(order["acknowledged"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    name = settings.publisher.source
    async with Publisher(settings, flags=flags_of(order)) as running:
        mark(order, "ready")
        while not os.path.exists(order["stop"]):  # noqa: ASYNC240, PTH110 - a stat
            batch = [
                {
                    "id": f"{name}-{n}",
                    "type": "made",
                    "key": f"key-{n % 11}",
                    "data": {"n": n, "text": "x" * 200},
                }
                for n in range(number + 1, number + 1 + order["batch"])
            ]
            events = await running.publish_many(batch)
            os.write(log, "".join(f"{event.id}\n" for event in events).encode())
            number += order["batch"]
            await asyncio.sleep(order["pause_s"])
        while any(running.owed.values()):  # noqa: ASYNC110 - from outside there is only polling
            await asyncio.sleep(0.05)
        mark(order, "drained")


def is_poison(event: Event) -> bool:
    return int(event.payload["n"]) % POISON == 0


async def subscriber(order: Order, settings: Settings) -> None:
    """Turn each event into a row; how its position is kept is the order's choice."""
    from crossfade.subscriber import Subscriber

    effects = Effects(Path(order["effects"]))
    together = order["together"]
    positions = effects.positions() if together else Path(order["positions"])
    async with Subscriber(
        settings, topics=[order["topic"]], positions=positions, flags=flags_of(order)
    ) as running:
        mark(order, "ready")
        async for event in running:
            # An effect takes time; positions may be saved while it is under way.
            await asyncio.sleep(0.002)
            effects.add(event, together=together)


async def hub(order: Order, settings: Settings) -> None:
    from crossfade.local.hub import Hub

    async with Hub(settings.websocket):
        mark(order, "ready")
        await asyncio.Event().wait()


async def tap(order: Order, settings: Settings) -> None:
    from crossfade.tap import Tap

    async with Tap(settings) as running:
        mark(order, "ready")
        await running.wait()


async def control(order: Order, settings: Settings) -> None:
    from crossfade.control.server import ControlServer

    async with ControlServer(settings) as running:
        mark(order, "ready")
        await running.ended()


async def run(role: str, order: Order) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    settings = Settings.model_validate(order["settings"])
    roles = {
        "publisher": publisher,
        "subscriber": subscriber,
        "hub": hub,
        "tap": tap,
        "source": source,
        "control": control,
    }
    try:
        await roles[role](order, settings)
    except asyncio.CancelledError:
        return


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    for name in ("realtime", "httpx", "websockets"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    given = orjson.loads(Path(sys.argv[2]).read_bytes())
    if given["point"]:
        arm(given["armed_role"], given["point"], given["nth"], Path(given["marks"]))
    asyncio.run(run(sys.argv[1], given))
