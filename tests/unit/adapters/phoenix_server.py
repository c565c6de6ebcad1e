"""A minimal Realtime server: just what a reader sees, and every way it can misbehave."""

import asyncio
import json
from contextlib import suppress
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response


class PhoenixServer:
    """``refuse`` maps a channel to the reason of its refusal; ``mute`` answers no join at all."""

    def __init__(self) -> None:
        self.sockets: dict[ServerConnection, dict[str, str]] = {}
        self.tokens: list[tuple[str, str]] = []
        self.keys: list[str] = []
        self.joins: list[dict[str, Any]] = []
        self.left: list[str] = []
        self.refuse: dict[str, str] = {}
        self.mute = False
        self.handshake: HTTPStatus | None = None
        self.handshakes = 0
        self._server: Server
        self.port = 0

    async def start(self, port: int = 0) -> None:
        self._server = await serve(
            self._serve, "127.0.0.1", port, process_request=self._request, compression=None
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        self.handshakes += 1
        parts = urlsplit(request.path)
        assert parts.path == "/realtime/v1/websocket"
        self.keys.append(parse_qs(parts.query)["apikey"][0])
        if self.handshake is not None:
            return connection.respond(self.handshake, '{"error":"no"}')
        return None

    async def _serve(self, socket: ServerConnection) -> None:
        channels = self.sockets.setdefault(socket, {})
        try:
            async for raw in socket:
                message = json.loads(raw)
                topic, event, ref = message["topic"], message["event"], message["ref"]
                if event == "phx_join":
                    self.joins.append(message)
                    name = topic.removeprefix("realtime:")
                    self.tokens.append((name, message["payload"].get("access_token", "")))
                    if self.mute:
                        continue
                    if name in self.refuse:
                        response = {"reason": self.refuse[name]}
                        await self._reply(socket, topic, ref, "error", response)
                        continue
                    channels[name] = ref
                    await self._reply(socket, topic, ref, "ok", {"postgres_changes": []})
                elif event == "phx_leave":
                    name = topic.removeprefix("realtime:")
                    self.left.append(name)
                    channels.pop(name, None)
                    await self._reply(socket, topic, ref, "ok", {})
                elif event == "access_token":
                    token = message["payload"]["access_token"]
                    self.tokens.append((topic.removeprefix("realtime:"), token))
                elif event == "heartbeat":
                    await self._reply(socket, topic, ref, "ok", {})
        except ConnectionClosed:
            pass
        finally:
            del self.sockets[socket]

    async def _reply(
        self, socket: ServerConnection, topic: str, ref: str, status: str, response: Any
    ) -> None:
        await self._send(socket, topic, "phx_reply", {"status": status, "response": response}, ref)

    async def _send(
        self, socket: ServerConnection, topic: str, event: str, payload: Any, ref: str | None = None
    ) -> None:
        message = {"ref": ref, "topic": topic, "event": event, "payload": payload}
        with suppress(ConnectionClosed):
            await socket.send(json.dumps(message))

    async def broadcast(self, channel: str, event: str, payload: Any) -> None:
        """To every socket that has joined ``channel``, with the id that ``realtime.send`` adds."""
        inner = {"event": event, "type": "broadcast", "payload": {"id": "row", **payload}}
        for socket, channels in list(self.sockets.items()):
            if channel in channels:
                await self._send(socket, f"realtime:{channel}", "broadcast", inner)

    async def close_channel(self, channel: str, system: str | None = None) -> None:
        """``phx_close``, after a system error if ``system`` has its text."""
        for socket, channels in list(self.sockets.items()):
            if channel in channels:
                topic = f"realtime:{channel}"
                if system is not None:
                    error = {
                        "status": "error",
                        "message": system,
                        "extension": "system",
                        "channel": channel,
                    }
                    await self._send(socket, topic, "system", error)
                await self._send(socket, topic, "phx_close", {}, channels.pop(channel))

    async def raw(self, text: str) -> None:
        """Any text to every socket."""
        for socket in list(self.sockets):
            await socket.send(text)

    async def drop(self, code: int = 1012) -> None:
        """Close every socket."""
        await asyncio.gather(*(socket.close(code) for socket in list(self.sockets)))

    def joined(self, channel: str) -> int:
        return sum(channel in channels for channels in self.sockets.values())
