"""One client's WebSocket: the handshake, frames in, frames out, the end."""

import asyncio
import contextlib
import logging

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from crossfade.local.supabase.outbox import Outbox
from crossfade.local.supabase.sessions import Session, Shared
from crossfade.local.supabase.tokens import TokenFault
from crossfade.local.supabase.wire import Version, decode

__all__ = ["RealtimeSocket"]

_LOG = logging.getLogger(__name__)


class RealtimeSocket:
    """The life of one connection."""

    def __init__(self, websocket: WebSocket, shared: Shared) -> None:
        self._websocket = websocket
        self._shared = shared
        self._outbox = Outbox()
        # The real server takes either.
        self._token = websocket.query_params.get("apikey") or websocket.headers.get("x-api-key", "")
        self._version: Version = (
            "2.0.0" if websocket.query_params.get("vsn", "1.0.0").startswith("2") else "1.0.0"
        )
        self._close_code = 1000
        self._session = Session(shared, self._token, self._version, self._outbox, self._close)

    async def serve(self) -> None:
        """Until either side closes."""
        refusal = self._refusal()
        if refusal is not None:
            status, text = refusal
            await self._shared.pause(self._shared.limits.refused_handshake_s)
            await self._websocket.send_denial_response(JSONResponse({"error": text}, status))
            return
        await self._websocket.accept()
        self._shared.sessions.add(self._session)
        writer = asyncio.create_task(self._write(), name="realtime socket writer")
        try:
            await self._read()
        finally:
            self._shared.sessions.discard(self._session)
            self._session.end()
            self._outbox.close()
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer
            if self._websocket.application_state is WebSocketState.CONNECTED:
                with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                    await self._websocket.close(self._close_code)

    def _close(self, code: int) -> None:
        self._close_code = code
        self._outbox.close()

    def _refusal(self) -> tuple[int, str] | None:
        if not self._token:
            return 401, "API key is missing"
        try:
            self._shared.gateway.check_token(self._token)
        except TokenFault as fault:
            return 401, "Token has expired" if fault.expired else fault.message
        if self._shared.quotas.suspend:
            return 403, "Realtime was disabled for this tenant"
        if self._shared.is_full():
            return 429, "Too many connected users"
        if self._shared.joins_exceed():
            return 429, "Too many joins per second"
        return None

    async def _write(self) -> None:
        """Writes what waits; at the end of the outbox it closes the socket."""
        try:
            while (frame := await self._outbox.take()) is not None:
                if isinstance(frame, bytes):
                    await self._websocket.send_bytes(frame)
                else:
                    await self._websocket.send_text(frame)
            if self._outbox.overflowed:
                _LOG.warning("a Realtime client reads too slowly; its socket is closed")
            await self._websocket.close(self._close_code)
        except (WebSocketDisconnect, RuntimeError):
            # The client is gone; the reader notices by itself.
            return

    async def _read(self) -> None:
        while True:
            try:
                received = await asyncio.wait_for(
                    self._websocket.receive(), self._shared.limits.idle_s
                )
            except TimeoutError:
                return  # no heartbeat: closed with 1000
            if received["type"] != "websocket.receive":
                return
            raw: str | bytes = received.get("text") or received.get("bytes") or ""
            message = decode(raw, self._version)
            if message is not None:
                await self._session.handle(message, len(raw))
