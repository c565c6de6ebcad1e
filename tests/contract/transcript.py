"""Plays a recorded Realtime session against a server and compares frame by frame."""

import asyncio
import json
import re
import tomllib
from collections.abc import Awaitable, Callable, Mapping
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
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|\+00:00)")
_NUMBERED = ("phx_ref", "phx_ref_prev", "ids")


@dataclass
class Client:
    """One connection; ``frames`` ends with None."""

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
        before: what to do before a line, where the recording left something out.
        names: the connection of a line that names none.
        without: the number of the difference that is not taken into account.
        answer_s: how long an answer may take.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[str, int], str],
        sql: Callable[[str], object],
        *,
        before: Mapping[int, Callable[["Player"], Awaitable[None]]] | None = None,
        names: Callable[[int], str] | None = None,
        without: int | None = None,
        answer_s: float = ANSWER_S,
    ) -> None:
        self.url = url
        self._token = token
        self._sql = sql
        self._before = before or {}
        self._names = names
        self._without = without
        self._answer_s = answer_s
        self._line = 0
        self._last_t = 0.0
        self.clients: dict[str, Client] = {}
        self._refused: dict[str, InvalidStatus] = {}
        self._numbers: tuple[dict[Any, int], dict[Any, int]] = ({}, {})
        self._instead: dict[int, str] = {}
        self._unordered: dict[int, list[Any]] = {}
        self.compared = 0

    async def play(self, name: str) -> int:
        """Play to the end; returns the number of comparisons made.

        Raises:
            AssertionError: naming the line that differs.
        """
        try:
            for number, line in self._lines(name):
                self._line = number
                try:
                    if number in self._before:
                        await self._before[number](self)
                    await self._step(line)
                except (AssertionError, TimeoutError) as error:
                    raise AssertionError(f"{name}.jsonl line {number}: {error}") from None
        finally:
            for client in self.clients.values():
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
            conn = line["conn"] if self._names is None else self._names(self._line)
            await getattr(self, f"_{line['dir']}")(conn, line)
        self._last_t = line.get("t", self._last_t)

    async def _open(self, conn: str, line: dict[str, Any]) -> None:
        query = self._fill(line["url"].partition("?")[2])
        url = f"{self.url.replace('http', 'ws', 1)}/realtime/v1/websocket?{query}"
        try:
            socket = await connect(url, compression=None, max_size=None, ping_interval=None)
        except InvalidStatus as refused:
            self._refused[conn] = refused
            return
        client = Client(socket)
        client.reader = asyncio.create_task(client.read())
        self.clients[conn] = client

    async def _send(self, conn: str, line: dict[str, Any]) -> None:
        if "binary_hex" in line:
            await self.clients[conn].socket.send(bytes.fromhex(line["binary_hex"]))
        else:
            await self.clients[conn].socket.send(self._fill(line["frame"]))

    async def _recv(self, conn: str, line: dict[str, Any]) -> None:
        self.compared += 1
        if "handshake" in line:
            wanted = line["handshake"]
            if wanted["status"] == 101:
                assert conn in self.clients, f"refused: {self._refused[conn]}"
            else:
                assert conn in self._refused, f"accepted instead of {wanted['status']}"
                response = self._refused[conn].response
                got = (response.status_code, json.loads(response.body or b"null"))
                assert got == (wanted["status"], json.loads(wanted["body"])), got
            return
        frame = await asyncio.wait_for(self.clients[conn].frames.get(), self._answer_s)
        assert frame is not None, f"closed instead of {line}"
        if "binary_hex" in line:
            assert isinstance(frame, bytes), f"{conn}: text instead of a binary frame: {frame!r}"
            wanted, got = _anonymous(bytes.fromhex(line["binary_hex"])), _anonymous(frame)
        else:
            assert isinstance(frame, str), f"{conn}: binary instead of text: {frame!r}"
            got = self._normal(frame, 1)
            if self._line in self._unordered:
                among = self._unordered[self._line]
                texts = [self._normal(text, 0) for text in among]
                assert got in texts, f"{conn}\n got    {got}\n wanted one of {texts}"
                del among[texts.index(got)]
                return
            wanted = self._normal(line["frame"], 0)
        assert got == wanted, f"{conn}\n got    {got}\n wanted {wanted}"

    async def _closed(self, conn: str, line: dict[str, Any]) -> None:
        """Nothing unexpected has come; whoever has not closed yet does it now."""
        self.compared += 1
        client = self.clients[conn]
        if line["code"] != 1000 or line["t"] - self._last_t > 30:  # it is the server who closes
            frame = await asyncio.wait_for(client.frames.get(), self._answer_s)
            assert frame is None, f"{conn}: {frame!r} instead of the end"
        else:
            await asyncio.sleep(QUIET_S)
            assert client.frames.empty(), f"{conn}: unexpected {client.frames.get_nowait()!r}"
        await client.socket.close()
        assert client.socket.close_code == line["code"], client.socket.close_code

    async def _http(self, request: dict[str, Any], wanted: dict[str, Any]) -> None:
        self.compared += 1
        instead = self._instead.get(self._line)
        async with httpx.AsyncClient(timeout=self._answer_s) as client:
            if instead is not None:
                content: Any = {"disconnect": True}
                if instead == "/_quotas":
                    content = dict(request["json"]["tenant"])
                    del content["max_bytes_per_second"]
                response = await client.post(self.url + instead, json=content)
                assert response.status_code == 200, response.text
                return
            headers = {n: self._fill(v) for n, v in request["headers"].items() if n != "Host"}
            content = request["content"]
            response = await client.request(
                request["method"],
                f"{self.url}/realtime/v1{request['path']}",
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

    def _normal(self, frame: str, side: int) -> Any:
        """Without what differs each time: ids, times, the ages of tokens. What the server numbers
        is numbered anew in the order in which it was first seen on this side."""
        text = json.dumps(self._numbered(json.loads(frame), side), sort_keys=True)
        text = _TIME.sub("a time", _SECONDS.sub("expired N seconds ago", text))
        return json.loads(_UUID.sub("an id", text))

    def _numbered(self, value: Any, side: int) -> Any:
        if isinstance(value, list):
            return [self._numbered(item, side) for item in value]
        if not isinstance(value, dict):
            return value
        numbers = self._numbers[side]

        def number(name: str, item: Any) -> Any:
            if isinstance(item, list):
                return [numbers.setdefault(one, len(numbers)) for one in item]
            return numbers.setdefault(item, len(numbers))

        subscribed = "id" in value and "schema" in value
        return {
            name: number(name, item)
            if name in _NUMBERED or (subscribed and name == "id")
            else self._numbered(item, side)
            for name, item in value.items()
        }

    def _lines(self, name: str) -> list[tuple[int, dict[str, Any]]]:
        """The lines to play. A call was recorded when its answer came, often after the frames
        that it caused: it is moved before them."""
        raw = (VECTORS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        skipped: set[int] = set()
        for number, difference in enumerate(differences()):
            if difference["transcript"] != name or number == self._without:
                continue
            numbers = difference["lines"]
            if "instead" in difference:
                self._instead.update(dict.fromkeys(numbers, difference["instead"]))
            elif difference.get("unordered"):
                texts = [json.loads(raw[n - 1])["frame"] for n in numbers]
                self._unordered.update(dict.fromkeys(numbers, texts))
            else:
                skipped.update(numbers)
        lines: list[tuple[int, dict[str, Any]]] = []
        for number, text in enumerate(raw, 1):
            line = json.loads(text)
            if number in skipped:
                continue
            at = len(lines)
            if line.get("kind") in ("http", "sql"):
                while at and _may_come_of(line, lines[at - 1][1]):
                    at -= 1
            lines.insert(at, (number, line))
        return lines


def _may_come_of(call: dict[str, Any], line: dict[str, Any]) -> bool:
    """Whether a frame recorded before a call may be its consequence."""
    if line.get("dir") != "recv" or "handshake" in line or call["t"] - line["t"] >= 1.0:
        return False
    frame = line.get("frame", "")
    return "phx_reply" not in frame and "Subscribed to PostgreSQL" not in frame


def _anonymous(frame: bytes) -> bytes:
    return re.sub(_UUID.pattern.encode(), b"-" * 36, frame)


def differences() -> list[dict[str, Any]]:
    """What is not compared as it is, and why."""
    found: list[dict[str, Any]] = tomllib.loads((VECTORS / "differences.toml").read_text())[
        "difference"
    ]
    return found
