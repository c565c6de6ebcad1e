"""The hub's process tells the control server what it uses, and needs no control server."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import httpx

from crossfade.control.server import ControlServer
from tests.integration.hub_process import HubProcess
from tests.unit.control.conftest import INSTANCE, settings_in


async def test_a_hub_tells_what_it_uses_and_outlives_the_control_server(tmp_path: Path) -> None:
    async with AsyncExitStack() as exits:
        async with ControlServer(settings_in(tmp_path)) as server:
            control = {"url": server.url, "instance_token": INSTANCE}
            hub = await exits.enter_async_context(HubProcess(tmp_path, control=control))
            text = await _metrics_with(server.url, 'crossfade_instances{role="hub"} 1.0')
            labels = f'-{hub.port}",role="hub"}}'
            for name in ("cpu_seconds_total", "resident_bytes"):
                assert f"crossfade_process_{name}" in text
                lines = [one for one in text.splitlines() if labels in one and name in one]
                assert [float(line.split()[-1]) > 0 for line in lines] == [True]
            assert f'-{hub.port}",name="clients",role="hub"}} 0.0' in text
        # The control server is gone.
        _, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        writer.close()
        await asyncio.sleep(1.5)
        assert hub.process is not None
        assert hub.process.poll() is None


async def _metrics_with(url: str, wanted: str) -> str:
    async with httpx.AsyncClient(base_url=url, timeout=20) as http, asyncio.timeout(30):
        while True:
            text = (await http.get("/metrics")).text
            if wanted in text:
                return text
            await asyncio.sleep(0.1)
