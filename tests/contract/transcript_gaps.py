"""What the recordings leave out (large frames, long series), made up again when played."""

import asyncio
import contextlib
import json
from typing import Any

from websockets.exceptions import ConnectionClosed

from tests.contract.transcript import ANSWER_S, Player


def large_frame(size: int) -> Any:
    """A broadcast of ``size`` characters on the connection ``big``."""

    async def send(player: Player) -> None:
        payload = {"type": "broadcast", "event": "e", "payload": {"s": ""}}
        message = {"topic": "realtime:big", "event": "broadcast", "payload": payload, "ref": "2"}
        payload["payload"] = {"s": "x" * (size - len(json.dumps(message)))}
        with contextlib.suppress(ConnectionClosed):  # it may close before everything is sent
            await player.clients["big"].socket.send(json.dumps(message))

    return send


async def flood(player: Player) -> None:
    """Broadcast until the server has had enough; the echoes are dropped."""
    sender = player.clients["ev"]
    stopped = asyncio.Event()

    async def without_echoes(conn: str) -> None:
        frames = player.clients[conn].frames
        while True:
            frame = await asyncio.wait_for(frames.get(), ANSWER_S)
            assert isinstance(frame, str)
            if json.loads(frame)["event"] == "system":
                break
        stopped.set()
        await asyncio.sleep(0.1)  # for what was on its way
        kept = [frame, *(frames.get_nowait() for _ in range(frames.qsize()))]
        for one in kept:
            if "unmatched topic" not in str(one):
                frames.put_nowait(one)

    async def send() -> None:
        while not stopped.is_set():
            await sender.socket.send(_push(999, 2))
            await asyncio.sleep(0.01)

    await asyncio.gather(send(), without_echoes("ev"), without_echoes("evB"))


async def push_after_the_end(player: Player) -> None:
    """The sender did not stop when its channel was closed."""
    for ref in range(155, 159):
        await player.clients["ev"].socket.send(_push(ref, 3))


async def many_joins(player: Player) -> None:
    """Join further topics until it is refused; the refusal's numbers become the recorded ones."""
    client = player.clients["joins"]
    for ref in range(5, 500):
        config = {"config": {"broadcast": {}, "private": False}}
        join = {"topic": f"realtime:j{ref - 1}", "event": "phx_join", "payload": config}
        await client.socket.send(json.dumps({**join, "ref": str(ref), "join_ref": str(ref)}))
        frame = await asyncio.wait_for(client.frames.get(), ANSWER_S)
        assert isinstance(frame, str)
        if json.loads(frame)["payload"]["status"] == "error":
            renamed = frame.replace(f'"{ref}"', '"26"').replace(f"j{ref - 1}", "j25")
            # Before the end of the connection, which is in the queue already or comes next.
            rest = [client.frames.get_nowait() for _ in range(client.frames.qsize())]
            for one in (renamed, *rest):
                client.frames.put_nowait(one)
            return
        await asyncio.sleep(0.01)
    raise AssertionError("joins are never refused")


def _push(ref: int, number: int) -> str:
    payload = {"type": "broadcast", "event": "e", "payload": {"i": number}}
    topic = "realtime:flood"
    return json.dumps({"topic": topic, "event": "broadcast", "payload": payload, "ref": str(ref)})
