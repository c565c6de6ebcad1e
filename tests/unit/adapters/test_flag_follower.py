"""The follower of flags: outages, its cache, order, and who waits for it."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from crossfade.adapters.flag_follower import FlagFollower
from crossfade.core.flags import Flags
from crossfade.errors import Closed, ControlUnavailable, CrossfadeError
from tests.unit.adapters.test_control import FLAGS, client_of


class FlagServer:
    """Long polls, and outages, as the test says."""

    def __init__(self) -> None:
        self.flags = FLAGS
        self.down: CrossfadeError | None = None
        self.polls: list[int] = []
        self.changed = asyncio.Event()

    def set(self, **changes: Any) -> None:
        self.flags = replace(self.flags, **changes)
        self.changed.set()

    async def answer(self, request: httpx.Request) -> httpx.Response:
        after = int(request.url.params["after"])
        wait_s = float(request.url.params["wait_s"])
        self.polls.append(after)
        if self.down:
            raise httpx.ConnectError("gone")
        if self.flags.version <= after and wait_s:
            self.changed.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self.changed.wait()
            except TimeoutError:
                pass
            if self.down:
                raise httpx.ReadError("cut off")
        return httpx.Response(200, content=orjson.dumps(self.flags.to_json()))


def follower_of(server: FlagServer, **changes: Any) -> FlagFollower:
    client, _ = client_of(server.answer)
    return FlagFollower(client, retry_initial_s=0.005, retry_max_s=0.02, **changes)


async def test_it_follows() -> None:
    server = FlagServer()
    async with asyncio.timeout(10), follower_of(server) as follower:
        assert follower.flags == Flags(), "nobody is in the cohort before anything is known"
        assert await follower.newer(0) == FLAGS
        assert follower.connected
        server.set(version=4, served={"*": 50.0})
        assert (await follower.newer(3)).served == {"*": 50.0}
        assert follower.flags.version == 4


async def test_the_last_known_flags_survive_an_outage() -> None:
    server = FlagServer()
    async with asyncio.timeout(10), follower_of(server) as follower:
        await follower.newer(0)
        server.down = ControlUnavailable("x")
        server.changed.set()
        polls = len(server.polls)
        while len(server.polls) < polls + 4:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        assert follower.flags == FLAGS
        assert not follower.connected
        server.down = None
        server.set(version=9)
        assert (await follower.newer(3)).version == 9
        assert follower.connected


async def test_a_restart_without_the_server_has_the_cached_flags(tmp_path: Path) -> None:
    server, cache = FlagServer(), tmp_path / "flags.json"
    async with asyncio.timeout(10), follower_of(server, cache=cache) as follower:
        await follower.newer(0)
        while not cache.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    server.down = ControlUnavailable("x")
    async with follower_of(server, cache=cache) as follower:
        assert follower.flags == FLAGS
        assert await follower.newer(0) == FLAGS
    assert not cache.with_name("flags.json.new").exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"version": 9}'])
async def test_a_broken_cache_is_ignored(tmp_path: Path, content: bytes) -> None:
    cache = tmp_path / "flags.json"
    cache.write_bytes(content)
    server = FlagServer()
    async with asyncio.timeout(10), follower_of(server, cache=cache) as follower:
        assert follower.flags == Flags()
        assert await follower.newer(0) == FLAGS


async def test_a_cache_that_can_not_be_written_does_not_stop_it(tmp_path: Path) -> None:
    server = FlagServer()
    async with asyncio.timeout(10), follower_of(server, cache=tmp_path / "no" / "x") as follower:
        await follower.newer(0)
        server.set(version=4)
        assert (await follower.newer(3)).version == 4


async def test_older_flags_never_replace_newer_ones() -> None:
    server = FlagServer()
    async with asyncio.timeout(10), follower_of(server, wait_s=0.01) as follower:
        await follower.newer(0)
        server.set(version=2, served={"*": 100.0})
        polls = len(server.polls)
        while len(server.polls) < polls + 3:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        assert follower.flags == FLAGS


async def test_closing_wakes_who_waits() -> None:
    server = FlagServer()
    async with asyncio.timeout(10):
        async with follower_of(server) as follower:
            await follower.newer(0)
            waiting = asyncio.create_task(follower.newer(99))
            await asyncio.sleep(0)
        with pytest.raises(Closed):
            await waiting
        with pytest.raises(Closed):
            await follower.newer(99)


async def test_a_server_that_answers_at_once_is_not_asked_in_a_tight_loop() -> None:
    async def at_once(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=orjson.dumps(FLAGS.to_json()))

    client, server = client_of(at_once)
    async with FlagFollower(client, retry_initial_s=0.2) as follower:
        await follower.newer(0)
        await asyncio.sleep(0.2)
    # Pauses are uniform up to 0.2 s; without them it would be hundreds.
    assert len(server.requests) < 50
