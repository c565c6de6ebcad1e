"""A bare Realtime client for tests: frames in, frames out, nothing hidden."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.services import Project

WAIT_S = 10.0


class Phoenix:
    """Speaks protocol 1.0.0 on one socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._ref = 0

    async def push(self, topic: str, event: str, payload: Any, *, join_ref: str = "1") -> str:
        self._ref += 1
        message = {
            "topic": topic,
            "event": event,
            "payload": payload,
            "ref": str(self._ref),
            "join_ref": join_ref,
        }
        await self.socket.send(json.dumps(message))
        return str(self._ref)

    async def receive(self, wait_s: float = WAIT_S) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await asyncio.wait_for(self.socket.recv(), wait_s))
        return message

    async def reply(self, ref: str) -> dict[str, Any]:
        """The payload of the reply to ``ref``; what comes before it must be no other reply."""
        while True:
            message = await self.receive()
            if message["ref"] == ref and message["event"] == "phx_reply":
                payload: dict[str, Any] = message["payload"]
                return payload

    async def join(
        self, topic: str, *, token: str | None = None, private: bool = False, **broadcast: Any
    ) -> dict[str, Any]:
        """Join ``realtime:<topic>``; the reply's payload."""
        payload: dict[str, Any] = {"config": {"private": private, "broadcast": broadcast}}
        if token is not None:
            payload["access_token"] = token
        return await self.reply(await self.push(f"realtime:{topic}", "phx_join", payload))

    async def heartbeat(self) -> None:
        """Everything that was sent to this socket before has arrived once this returns."""
        ref = await self.push("phoenix", "heartbeat", {})
        message = await self.receive()
        assert (message["ref"], message["topic"]) == (ref, "phoenix"), message


@asynccontextmanager
async def phoenix(project: Project, *, key: str | None = None) -> AsyncIterator[Phoenix]:
    """A connected client; ``key`` defaults to the anon key."""
    url = project.url.replace("http", "ws", 1)
    async with connect(
        f"{url}/realtime/v1/websocket?apikey={key or project.anon_key}&vsn=1.0.0",
        compression=None,
        ping_interval=None,
        max_size=None,
    ) as socket:
        yield Phoenix(socket)
