"""Plays a recorded Realtime session against a server and compares frame by frame."""

import asyncio
import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "realtime"
ANSWER_S = 10.0
QUIET_S = 0.15
_TOKEN = re.compile(r"<jwt:[a-z_:]+>")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SECONDS = re.compile(r"expired \d+ seconds ago")


@dataclass
class _Client:
    socket: ClientConnection
    frames: asyncio.Queue[str | bytes | None] = field(default_factory=asyncio.Queue)
    reader: asyncio.Task[None] | None = None

    async def read(self) -> None:
        try:
            async for frame in self.socket:
                await self.frames.put(frame)
        except ConnectionClosed:
            pass
        await self.frames.put(None)


class Player:
    """One playing of one transcript.

    Args:
        url: of the project.
        token: the token for a placeholder on a line (its number in the file).
        sql: runs a statement in the project's database.
    """

    def __init__(
        self, url: str, token: Callable[[str, int], str], sql: Callable[[str], object]
    ) -> None:
        self._url = url
        self._token = token
        self._sql = sql
        self._line = 0
        self._last_t = 0.0
        self._clients: dict[str, _Client] = {}
        self._refused: dict[str, InvalidStatus] = {}
        self.compared = 0

    async def play(self, name: str) -> int:
        """Play to the end; returns the number of comparisons made.

        Raises:
            AssertionError: naming the line that differs.
        """
        try:
            for number, line in _lines(name):
                self._line = number
                try:
                    await self._step(line)
                except AssertionError as error:
                    raise AssertionError(f"{name}.jsonl line {number}: {error}") from None
        finally:
            for client in self._clients.values():
                await client.socket.close()
                if client.reader is not None:
                    await client.reader
        return self.compared

    async def _step(self, line: dict[str, Any]) -> None:
        if line.get("kind") == "sql":
            await asyncio.to_thread(self._sql, line["sql"])
        elif line.get("kind") == "http":
            await self._http(line["request"], line["response"])
        elif line.get("kind") is None and "dir" in line:
            await getattr(self, f"_{line['dir']}")(line["conn"], line)
        self._last_t = line["t"]

    async def _open(self, conn: str, line: dict[str, Any]) -> None:
        query = self._fill(line["url"].partition("?")[2])
        url = f"{self._url.replace('http', 'ws', 1)}/realtime/v1/websocket?{query}"
        try:
            socket = await connect(url, compression=None, max_size=None, ping_interval=None)
        except InvalidStatus as refused:
            self._refused[conn] = refused
            return
        client = _Client(socket)
        client.reader = asyncio.create_task(client.read())
        self._clients[conn] = client

    async def _send(self, conn: str, line: dict[str, Any]) -> None:
        if "binary_hex" in line:
            await self._clients[conn].socket.send(bytes.fromhex(line["binary_hex"]))
        else:
            await self._clients[conn].socket.send(self._fill(line["frame"]))

    async def _recv(self, conn: str, line: dict[str, Any]) -> None:
        self.compared += 1
        if "handshake" in line:
            wanted = line["handshake"]
            if wanted["status"] == 101:
                assert conn in self._clients, f"refused: {self._refused[conn]}"
            else:
                response = self._refused[conn].response
                got = (response.status_code, json.loads(response.body or b"null"))
                assert got == (wanted["status"], json.loads(wanted["body"])), got
            return
        frame = await asyncio.wait_for(self._clients[conn].frames.get(), ANSWER_S)
        assert frame is not None, f"closed instead of {line}"
        if "binary_hex" in line:
            assert isinstance(frame, bytes), f"{conn}: text instead of a binary frame: {frame!r}"
            wanted, got = _anonymous(bytes.fromhex(line["binary_hex"])), _anonymous(frame)
        else:
            assert isinstance(frame, str), f"{conn}: binary instead of text: {frame!r}"
            wanted = self._normal(json.loads(line["frame"]))
            got = self._normal(json.loads(frame))
        assert got == wanted, f"{conn}\n got    {got}\n wanted {wanted}"

    async def _closed(self, conn: str, line: dict[str, Any]) -> None:
        """Nothing unexpected has come; whoever has not closed yet does it now."""
        self.compared += 1
        client = self._clients.pop(conn)
        server_closes = line["t"] - self._last_t > 30
        if server_closes:
            frame = await asyncio.wait_for(client.frames.get(), ANSWER_S)
            assert frame is None, f"{conn}: {frame!r} instead of the end"
        else:
            await asyncio.sleep(QUIET_S)
            assert client.frames.empty(), f"{conn}: unexpected {client.frames.get_nowait()!r}"
            await client.socket.close()
        assert client.reader is not None
        await client.reader
        assert client.socket.close_code == line["code"], client.socket.close_code

    async def _http(self, request: dict[str, Any], wanted: dict[str, Any]) -> None:
        self.compared += 1
        headers = {
            name: self._fill(value) for name, value in request["headers"].items() if name != "Host"
        }
        content = request["content"]
        async with httpx.AsyncClient(timeout=ANSWER_S) as client:
            response = await client.request(
                request["method"],
                f"{self._url}/realtime/v1{request['path']}",
                headers=headers,
                json=request["json"],
                content=None if content is None else bytes.fromhex(content),
            )
        got = (response.status_code, response.text and response.json())
        assert got == (wanted["status"], wanted["body"] and json.loads(wanted["body"])), got

    def _fill(self, text: str) -> str:
        def fill(match: re.Match[str]) -> str:
            return self._token(match[0], self._line)

        return _TOKEN.sub(fill, text)

    def _normal(self, value: Any) -> Any:
        """Without what differs each time: ids and the ages of tokens."""
        text = _SECONDS.sub("expired N seconds ago", json.dumps(value, sort_keys=True))
        return json.loads(_UUID.sub("an id", text))


def _anonymous(frame: bytes) -> bytes:
    return re.sub(_UUID.pattern.encode(), b"-" * 36, frame)


def _lines(name: str) -> list[tuple[int, dict[str, Any]]]:
    """The lines to play. A call was recorded when its answer came, often after the frames that
    it caused: it is moved before them."""
    skipped = {
        line
        for difference in differences()
        if difference["transcript"] == name
        for line in difference["lines"]
    }
    text = (VECTORS / f"{name}.jsonl").read_text(encoding="utf-8")
    lines: list[tuple[int, dict[str, Any]]] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = json.loads(raw)
        if number in skipped:
            continue
        at = len(lines)
        if line.get("kind") in ("http", "sql"):
            while (
                at and lines[at - 1][1].get("dir") == "recv" and "handshake" not in lines[at - 1][1]
            ):
                at -= 1
        lines.insert(at, (number, line))
    return lines


def differences() -> list[dict[str, Any]]:
    """What is not compared, and why."""
    found: list[dict[str, Any]] = tomllib.loads((VECTORS / "differences.toml").read_text())[
        "difference"
    ]
    return found
