"""What goes over the wire with each kind of key, read from the bytes of real requests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from crossfade.adapters.stores.supabase import SupabaseReader
from crossfade.adapters.supabase import SupabaseEventStore
from crossfade.core.event import Stream
from crossfade.local.keys import make_keys, mint_token, new_secret
from crossfade.settings import SupabaseSettings

SECRET = new_secret()
KEYS = make_keys(SECRET)
TOKEN = mint_token(SECRET, "authenticated")
STREAM = Stream("app", 1, "critical", 0)


class Recorder:
    def __init__(self) -> None:
        self.url = ""
        self.heads: list[tuple[str, dict[str, str]]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.split(": ", 1) for line in lines if line)
        headers = {name.lower(): value for name, value in pairs}
        await reader.readexactly(int(headers.get("content-length", 0)))
        self.heads.append((first, headers))
        body = b'{"events": [], "floor": null, "head": null}'
        if "streams" in first or "extents" in first:
            body = b"[]"
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(body), body)
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def recorder() -> AsyncIterator[Recorder]:
    recording = Recorder()
    server = await asyncio.start_server(recording.serve, "127.0.0.1", 0)
    recording.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield recording
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("key", "token", "bearer"),
    [
        (KEYS.service_role, "", KEYS.service_role),
        (KEYS.anon, TOKEN, TOKEN),
        ("sb_secret_abc", "", None),
        ("sb_publishable_abc", TOKEN, TOKEN),
        ("sb_publishable_abc", "sb_secret_abc", None),
    ],
)
async def test_the_store(key: str, token: str, bearer: str | None) -> None:
    async with recorder() as server, SupabaseEventStore(server.url, key, access_token=token) as one:
        await one.fill(STREAM, 1, 1)
        await one.set_access_token(token)
        await one.fill(STREAM, 1, 1)
    assert len(server.heads) == 2
    for first, headers in server.heads:
        assert headers["apikey"] == key
        assert headers.get("authorization") == (None if bearer is None else f"Bearer {bearer}")
        assert key not in first, "a key is never in a URL"


@pytest.mark.parametrize("key", [KEYS.service_role, "sb_secret_abc"])
async def test_the_reader(key: str) -> None:
    async with recorder() as server:
        section = SupabaseSettings.model_validate({"url": server.url, "service_role_key": key})

        def read() -> None:
            reader = SupabaseReader(section)
            reader.streams()
            reader.close()

        await asyncio.to_thread(read)
    bearer = None if key.startswith("sb_") else f"Bearer {key}"
    for first, headers in server.heads:
        assert (headers["apikey"], headers.get("authorization")) == (key, bearer)
        assert key not in first
