"""A publisher's connection at the reference hub, and the fills asked of its journal over it."""

import asyncio
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from crossfade.core.event import Stream
from crossfade.core.frames import encode_frame
from crossfade.errors import StoreUnavailable

__all__ = ["PublisherLink"]


class PublisherLink:
    """A publisher's connection, and the fills asked of its journal over it."""

    def __init__(self, connection: ServerConnection, timeout_s: float) -> None:
        self.connection = connection
        self.sources: set[str] = set()
        self._timeout_s = timeout_s
        self._pending: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._requests = 0

    async def fill(self, stream: Stream, first: int, last: int) -> dict[str, Any]:
        """Ask the publisher's journal for a page.

        Raises:
            StoreUnavailable: no answer in time, or the link was lost.
        """
        self._requests += 1
        request = self._requests
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._pending[request] = answer
        frame = encode_frame("fill", request=request, **stream._asdict(), first=first, last=last)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self.connection.send(frame, text=True)
                return await answer
        except (TimeoutError, ConnectionClosed) as error:
            raise StoreUnavailable(f"the publisher of {stream.source} did not answer") from error
        finally:
            self._pending.pop(request, None)

    def answered(self, frame: dict[str, Any]) -> None:
        """Hand a ``filled`` frame to whoever asked; a late one is dropped."""
        answer = self._pending.get(frame.get("request", 0))
        if answer is not None and not answer.done():
            answer.set_result(frame)

    def lost(self) -> None:
        """The link is gone: whoever waits is told at once."""
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(StoreUnavailable("the publisher's link was lost"))
