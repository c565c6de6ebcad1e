"""The README's examples run as they stand, and the README shows what they say."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect

from crossfade.local.hub import Hub
from crossfade.settings import WebSocketSettings

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def example(name: str, *arguments: str, folder: Path, **more: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "examples" / name),
        *arguments,
        cwd=folder,
        env={**os.environ, **more},
        stdout=PIPE,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(15):
            await process.wait()
        process._transport.close()  # type: ignore[attr-defined]


async def dial(port: int) -> ClientConnection:
    async with asyncio.timeout(20):
        while True:
            try:
                return await connect(f"ws://127.0.0.1:{port}")
            except OSError:
                await asyncio.sleep(0.05)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_an_existing_server_serves_old_clients_and_subscribers(
    tmp_path: Path, port: int
) -> None:
    async with Hub(WebSocketSettings(url="ws://127.0.0.1:0", heads_s=0.1)) as hub:
        (tmp_path / "crossfade.toml").write_text(f'[websocket]\nurl = "{hub.url}"\n')
        async with (
            example("existing_server.py", folder=tmp_path, PORT=str(port)),
            example("subscriber.py", "ann", folder=tmp_path) as subscriber,
            await dial(port) as old_client,
        ):
            for number in range(20):
                order = {"customer": ("ann", "bob")[number % 2], "number": number}
                await old_client.send(json.dumps(order))
            async with asyncio.timeout(20):
                seen = [json.loads(await old_client.recv()) for _ in range(20)]
                lines = [await subscriber.stdout.readline() for _ in range(10)]
    assert [one["order"]["number"] for one in seen] == list(range(20))
    found = [int(re.search(rb"'number': (\d+)", line)[1]) for line in lines]
    assert found == list(range(0, 20, 2))


async def test_a_hub_that_is_gone_does_not_disturb_old_clients(tmp_path: Path, port: int) -> None:
    (tmp_path / "crossfade.toml").write_text(
        '[websocket]\nurl = "ws://127.0.0.1:1"\n[publisher]\ndrain_s = 0.1\n'
    )
    async with (
        example("existing_server.py", folder=tmp_path, PORT=str(port)),
        await dial(port) as old_client,
    ):
        async with asyncio.timeout(20):
            for number in range(5):
                await old_client.send(json.dumps({"customer": "ann", "number": number}))
                assert json.loads(await old_client.recv())["order"]["number"] == number


@pytest.mark.parametrize("name", ["existing_server.py", "subscriber.py"])
def test_the_readme_shows_the_examples(name: str) -> None:
    """Every line of code that the README shows under the example's name is in the example."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    source = (ROOT / "examples" / name).read_text(encoding="utf-8")
    block = re.search(rf"examples/{name}\)[^`]*```python\n(.*?)```", readme, re.DOTALL)
    assert block is not None, f"the README shows no code of examples/{name}"
    for line in block[1].splitlines():
        assert line.strip() in ("", "...") or line.strip() in source, line
