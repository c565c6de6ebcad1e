"""What is waiting to be written to one socket, with a limit."""

import asyncio
from collections import deque

__all__ = ["MAX_WAITING_BYTES", "Outbox"]

MAX_WAITING_BYTES = 32_000_000
"""A socket whose client lets more than this pile up is closed."""


class Outbox:
    """Frames in order. ``put`` never waits: over the limit it closes the outbox instead."""

    def __init__(self, limit_bytes: int = MAX_WAITING_BYTES) -> None:
        self._limit = limit_bytes
        self._frames: deque[str | bytes] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self.overflowed = False
        self.closed = False

    def put(self, frame: str | bytes) -> None:
        """Add a frame; without effect once closed."""
        if self.closed:
            return
        if self._bytes + len(frame) > self._limit:
            self.overflowed = True
            self.close()
            return
        self._frames.append(frame)
        self._bytes += len(frame)
        self._changed.set()

    def close(self) -> None:
        """Nothing more comes; what waits is still handed out unless it overflowed."""
        self.closed = True
        self._changed.set()

    async def take(self) -> str | bytes | None:
        """The next frame; None at the end."""
        while not self._frames:
            if self.closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        if self.overflowed:
            return None
        frame = self._frames.popleft()
        self._bytes -= len(frame)
        return frame
