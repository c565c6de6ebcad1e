"""A WebSocket server of somebody's own: it sends what its producer sends to all its clients.

It knows nothing of Crossfade. Its frames are the shop's: ``{"kind", "order", "meta"}``.
"""

import json
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, broadcast, serve

from crossfade.core.codec import Identity, JsonCodec

Edit = Callable[[dict[str, Any]], list[dict[str, Any]]]


def shop_codec(identity: Identity) -> JsonCodec:
    mark = {"stamp": "meta.crossfade", "id": "meta.id", "content": ""}[identity]
    return JsonCodec(data="order", type="kind", mark=mark, identity=identity, constant={"v": 2})


class ForeignServer:
    """``edit`` says what becomes of a frame on its way: ``[]`` loses it, two double it."""

    def __init__(self, edit: Edit = lambda frame: [frame], port: int = 0) -> None:
        self.edit = edit
        self._port = port
        self.frames: list[dict[str, Any]] = []
        self.clients: set[ServerConnection] = set()
        self.authorized: set[str | None] = set()
        self._server: Server

    async def __aenter__(self) -> Self:
        self._server = await serve(self._serve, "127.0.0.1", self._port)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.authorized.add(connection.request.headers.get("Authorization"))
        if connection.request.path == "/produce":
            async for message in connection:
                frame = json.loads(message)
                self.frames.append(frame)
                for one in self.edit(frame):
                    # Parsed and written anew, with another order of keys, as real ones do.
                    broadcast(self.clients, json.dumps(dict(reversed(one.items()))))
            return
        self.clients.add(connection)
        try:
            await connection.send(json.dumps({"hello": "client", "v": 2}))
            await connection.wait_closed()
        finally:
            self.clients.discard(connection)
