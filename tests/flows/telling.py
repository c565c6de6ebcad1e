"""Prefect's own automations tell people, with no worker there (``make test-prefect``).

Not collected by a plain ``pytest``: its name is not a test's.
"""

import asyncio
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import PrefectClient

from crossfade.local.prefect import WEEKS, deploy
from crossfade.local.prefect_api import PrefectApi
from crossfade.local.stack_settings import write_settings
from tests.flows.test_weeks import WAIT_S, form_of, reach, until
from tests.flows.world import LOGIN, FlowWorld

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("prefect"), pytest.mark.timeout(600)]


class Chat:
    """A webhook that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        chat = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                chat.told.append(orjson.loads(body)["text"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"

    async def hears(self, *parts: str) -> None:
        async def look() -> str | None:
            return next((one for one in self.told if all(part in one for part in parts)), None)

        await until(look, f"an alert with {parts}")


@pytest.fixture
def chat() -> Iterator[Chat]:
    found = Chat()
    thread = threading.Thread(target=found.server.serve_forever, daemon=True)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join(10)


async def deployed(world: FlowWorld, notify: list[str]) -> None:
    prefect = world.settings.prefect
    stages = [
        stage.model_dump(mode="json", exclude_defaults=True)
        for stage in world.settings.rollout.stages
    ]
    values = {
        "prefect": {
            "api_url": prefect.api_url,
            "work_pool": prefect.work_pool,
            "auth": LOGIN,
            "notify": notify,
        },
        "reconcile": {"every_s": 86_400.0},
        "rollout": {"stages": stages},
    }
    file = world.folder / "telling.toml"
    await asyncio.to_thread(write_settings, values, file)
    await deploy(world.home, prefect, file, inherited=os.environ)


async def test_hold_expiry_approval_wanted_and_breach_are_told_without_a_worker(
    world: FlowWorld, api: PrefectApi, chat: Chat
) -> None:
    block = CustomWebhookNotificationBlock(
        name="on-call",
        url="{{hook}}",
        secrets={"hook": chat.url},
        json_data={"text": "{{subject}}: {{body}}"},
    )
    async with PrefectClient(world.api_url, auth_string=LOGIN) as client:
        await block.asave("on-call", overwrite=True, client=client)
    await deployed(world, ["custom-webhook/on-call"])
    try:
        await asyncio.to_thread(world.fresh_rollout, approval_expires_s=12.0)
        run_id = await api.run(WEEKS[0])
        await form_of(api, run_id)
        await chat.hears("Crossfade: flights: week-1", "waits for an approval")
        world.worker.kill(group=True)
        async with world.client() as control:
            held = await reach(control, "held")
            assert "nobody approved within 12 s" in held["reason"]
            await chat.hears("nobody decided in time", "nobody approved within 12 s")
            address = {"actor": "cli:Ada", "stage": 0, "attempt": 1}
            await control.command("resume", root_cause="asleep", fix="awake", **address)
            await control.command("hold", reason="look first", **{**address, "attempt": 2})
            await chat.hears("is held: look first (by cli:Ada)")
            assert not [one for one in chat.told if "nobody" in one and "look first" in one]
            await control.command(
                "resume", root_cause="looked", fix="none", **{**address, "attempt": 2}
            )
            await control.command("rollback", actor="cli:Ada", reason="complaints")
            await chat.hears("was taken back: complaints")
        # The form went away with the control server's deadline, though no worker is there.
        run = await api.wait(run_id, WAIT_S)
        assert run["state_type"] in ("FAILED", "CANCELLED"), run["state"]
    finally:
        await asyncio.to_thread(world.revive)
        await asyncio.to_thread(world.worker_is_online)
        await deployed(world, [])
    told = len(chat.told)
    await asyncio.to_thread(world.fresh_rollout)
    async with world.client() as control:
        await control.command("hold", actor="Ada", stage=0, attempt=1, reason="once more")
        await reach(control, "held")
    await asyncio.sleep(2.0)
    assert len(chat.told) == told, "nobody is told any more"
