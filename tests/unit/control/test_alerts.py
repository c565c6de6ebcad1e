"""Alerts: each event to each target once, again after a failure, never in anybody's way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from structlog.testing import capture_logs

from crossfade.control.alerts import GIVE_UP_S, MOST_ATTEMPTS, Alerts, targets_of
from crossfade.control.server import ControlServer
from crossfade.errors import SettingsError
from crossfade.settings import AlertSettings
from tests.unit.control.conftest import HeldClock, client_of, settings_in
from tests.unit.control.test_app import Week

CHAT, HOOK = "https://chat.example/hooks/s3cret", "http://hook.example/x?token=s3cret"


class Receivers:
    """Both webhooks; ``broken`` holds the hosts that answer 500."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.tries = 0
        self.broken: set[str] = set()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.tries += 1
        if request.url.host in self.broken:
            return httpx.Response(500, text="s3cret")
        self.told.append((request.url.host, orjson.loads(request.content)))
        return httpx.Response(200)

    def events(self, host: str) -> list[str]:
        return [body["event"] for to, body in self.told if to == host]


@asynccontextmanager
async def running(
    folder: Path, receivers: Receivers, **alerts: Any
) -> AsyncIterator[tuple[ControlServer, Week, HeldClock, Alerts]]:
    """A control server whose own alerts are silent, and alerts that the test looks with."""
    clock = HeldClock()
    settings = settings_in(folder)
    known = {"urls": (CHAT, HOOK), **alerts}
    async with ControlServer(settings, clock=clock) as server:
        told = settings.model_copy(update={"alerts": AlertSettings.model_validate(known)})
        server.service.settings = told
        found = Alerts(server.service, transport=httpx.MockTransport(receivers))
        async with client_of(server, settings) as client, found._http:
            week = Week(server, client, clock)
            await week.start()
            yield server, week, clock, found


async def take_back(week: Week) -> None:
    await week.client.command("rollback", actor="cli:ada", reason="complaints")


async def test_every_target_is_told_once_in_order_in_words(tmp_path: Path) -> None:
    receivers = Receivers()
    async with running(tmp_path, receivers) as (_, week, clock, alerts):
        await week.until("reconcile")
        clock.advance(1)
        await take_back(week)
        clock.advance(1)
        address = {"actor": "flow-run:x", "stage": 0, "attempt": 1}
        await week.client.command("rolled_back", **address)
        for _ in range(2):
            assert await alerts.look()
    names = ["approval_wanted", "rollback_requested", "rolled_back"]
    for host in ("chat.example", "hook.example"):
        assert receivers.events(host) == [f"crossfade.{name}" for name in names]
    body = receivers.told[1][1]
    assert body["text"] == (
        "Crossfade, test: week-1, attempt 1, was taken back: complaints (by cli:ada)"
    )
    assert body["incident_id"]


async def test_a_broken_target_holds_up_neither_the_other_nor_the_rollout(tmp_path: Path) -> None:
    receivers = Receivers()
    receivers.broken = {"chat.example"}
    async with running(tmp_path, receivers) as (_, week, _clock, alerts):
        await take_back(week)
        with capture_logs() as logs:
            assert not await alerts.look()
        assert receivers.events("hook.example") == ["crossfade.rollback_requested"]
        receivers.broken = set()
        assert await alerts.look()
        assert await alerts.look()
    assert receivers.events("chat.example") == ["crossfade.rollback_requested"]
    assert receivers.events("hook.example") == ["crossfade.rollback_requested"], "told once"
    assert any(one.get("to") == "https://chat.example" for one in logs)
    assert "s3cret" not in repr(logs)


async def test_what_nobody_takes_is_given_up(tmp_path: Path) -> None:
    receivers = Receivers()
    receivers.broken = {"chat.example"}
    async with running(tmp_path, receivers, urls=(CHAT,)) as (_, week, clock, alerts):
        await take_back(week)
        for _ in range(MOST_ATTEMPTS):
            assert not await alerts.look()
        assert await alerts.look(), "given up"
        assert receivers.tries == MOST_ATTEMPTS
        await week.client.command("rolled_back", actor="flow-run:x", stage=0, attempt=1)
        clock.advance(GIVE_UP_S + 1)
        receivers.broken = set()
        assert await alerts.look()
    assert receivers.told == [], "too old to be of use"


async def test_only_what_is_asked_for_is_told(tmp_path: Path) -> None:
    receivers = Receivers()
    async with running(tmp_path, receivers, events="held rolled_back") as (_, week, _c, alerts):
        await week.step()
        address = {"actor": "cli:ada", "stage": 0, "attempt": 1}
        await week.client.command("hold", reason="look first", **address)
        await take_back(week)
        assert await alerts.look()
    assert receivers.events("chat.example") == ["crossfade.held"]


async def test_the_server_tells_at_once_without_prefect(tmp_path: Path) -> None:
    receivers = Receivers()
    settings = settings_in(tmp_path, alerts={"urls": [CHAT]})
    assert not settings.prefect.api_url
    async with (
        ControlServer(
            settings, clock=HeldClock(), alert_transport=httpx.MockTransport(receivers)
        ) as server,
        client_of(server, settings) as client,
    ):
        week = Week(server, client, server.service.clock)
        await week.start()
        await take_back(week)
        async with asyncio.timeout(10):
            while not receivers.told:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert receivers.events("chat.example") == ["crossfade.rollback_requested"]


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")
async def test_urls_that_nobody_understands_are_refused_without_being_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with httpx.AsyncClient() as http:
        with pytest.raises(SettingsError) as caught:
            targets_of([CHAT, "what://s3cret"], http, timeout_s=1)
        (mail,) = targets_of(["mailto://user:s3cret@example.com"], http, timeout_s=1)
    assert "alerts.urls[1]" in str(caught.value)
    assert "s3cret" not in str(caught.value) + caplog.text
    assert (mail.label, "s3cret" in mail.key) == ("mailto://…", False)


def test_settings_name_what_can_be_told() -> None:
    with pytest.raises(ValueError, match="no alert fire; there are breach"):
        AlertSettings(events=("fire",))
    assert "s3cret" not in repr(AlertSettings.model_validate({"urls": CHAT}))
