"""Alerts: what happened to the rollout, told to webhooks and through Apprise (mail, chat, …).

They are sent from the same outbox rows as Prefect's events, by a task of their own, so that
neither a missing Prefect nor a dead chat server holds anything up. Each event is told to
each target once, again after a failure, and given up after a while. A target's URL is a
secret: only its scheme and host are ever shown.
"""

import asyncio
import hashlib
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import structlog
from sqlalchemy.exc import SQLAlchemyError

from crossfade.control.records import OutboxEvent
from crossfade.control.service import ControlService
from crossfade.core.event import format_time
from crossfade.errors import SettingsError

__all__ = ["GIVE_UP_S", "HAPPENED", "Alerts", "Target", "alert_text", "targets_of"]

GIVE_UP_S = 3_600.0
"""An event that is older is not told any more: it would only confuse."""

MOST_ATTEMPTS = 10
IDLE_S = 5.0
RETRY_INITIAL_S = 1.0
RETRY_MAX_S = 60.0

Send = Callable[[str, dict[str, Any]], Awaitable[None]]
_log = structlog.get_logger("crossfade.control")

HAPPENED = {
    "crossfade.breach": "was taken back by itself",
    "crossfade.rollback_requested": "was taken back",
    "crossfade.rollback_widened": "is taken back further",
    "crossfade.rolled_back": "is rolled back and verified",
    "crossfade.held": "is held",
    "crossfade.approval_wanted": "waits for an approval",
    "crossfade.approval_expired": "is held, for nobody decided in time",
    "crossfade.promoted": "was approved; the next stage may start",
    "crossfade.completed": "was approved; the rollout is complete",
    "crossfade.cut_over": "is cut over: Realtime is primary",
    "crossfade.decommissioned": "is decommissioned: WebSocket is switched off",
}
"""In words: what happened to a stage, by the event's name."""


class Target(NamedTuple):
    """Where alerts go: ``key`` names it in rows, ``label`` to people; ``send`` may raise."""

    key: str
    label: str
    send: Send


def alert_text(event: OutboxEvent) -> str:
    """One line for people."""
    payload = event.payload
    happened = HAPPENED.get(event.name, event.name)
    reason = f": {payload['reason']}" if payload.get("reason") else ""
    actor = f" (by {payload['actor']})" if payload.get("actor") else ""
    return (
        f"Crossfade, {payload.get('rollout', 'rollout')}: {payload.get('stage_name', 'a stage')}, "
        f"attempt {payload.get('attempt', 1)}, {happened}{reason}{actor}"
    )


def targets_of(urls: list[str], http: httpx.AsyncClient, *, timeout_s: float) -> tuple[Target, ...]:
    """A target for each URL: ``http(s)`` is a webhook that gets JSON, the rest is Apprise's.

    Raises:
        SettingsError: a URL that neither understands, or Apprise is needed and not installed.
    """
    found = []
    for number, url in enumerate(urls):
        parts = urlsplit(url)
        key = hashlib.sha256(url.encode()).hexdigest()[:16]
        if parts.scheme in ("http", "https"):
            label = f"{parts.scheme}://{parts.hostname}"
            found.append(Target(key, label, _webhook(url, http)))
        else:
            send = _apprise(url, f"alerts.urls[{number}]", timeout_s)
            found.append(Target(key, f"{parts.scheme}://…", send))
    return tuple(found)


def _webhook(url: str, http: httpx.AsyncClient) -> Send:
    async def send(text: str, body: dict[str, Any]) -> None:
        response = await http.post(url, json={"text": text, **body})
        if not response.is_success:
            raise RuntimeError(f"status {response.status_code}")

    return send


def _apprise(url: str, place: str, timeout_s: float) -> Send:
    try:
        from apprise import Apprise
    except ModuleNotFoundError as error:
        raise SettingsError(
            [f"{place}: only http and https work without Apprise: pip install crossfade[operate]"]
        ) from error
    # It logs whole URLs, which hold passwords; what went wrong is told by us.
    logging.getLogger("apprise").setLevel(logging.CRITICAL)
    service = Apprise()
    if not service.add(url):
        raise SettingsError([f"{place}: Apprise does not understand this URL"])

    async def send(text: str, body: dict[str, Any]) -> None:
        async with asyncio.timeout(timeout_s):
            told = await service.async_notify(body=text, title="Crossfade")
        if not told:
            raise RuntimeError("not delivered")

    return send


class Alerts:
    """Tells every target of every event it is interested in, in order, for as long as it runs."""

    def __init__(
        self, service: ControlService, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._service = service
        self._settings = service.settings.alerts
        self._http = httpx.AsyncClient(
            timeout=self._settings.timeout_s, transport=transport, follow_redirects=False
        )
        urls = [one.get_secret_value() for one in self._settings.urls]
        self._targets = targets_of(urls, self._http, timeout_s=self._settings.timeout_s)
        self.told = 0
        """Alerts delivered since the start."""

    async def run(self) -> None:
        """Run until cancelled."""
        failures = 0
        async with self._http:
            while True:
                try:
                    done = await self.look()
                except SQLAlchemyError as error:
                    _log.error("alerts can not be read", error=type(error).__name__)
                    done = False
                failures = 0 if done else failures + 1
                ceiling = min(RETRY_MAX_S, RETRY_INITIAL_S * 2 ** min(failures, 16))
                pause_s = IDLE_S if done else random.uniform(0.0, ceiling)  # noqa: S311 - jitter
                await self._pause(pause_s)

    async def look(self) -> bool:
        """Tell what is due; whether everything was told (or given up)."""
        service = self._service
        oldest_us = service.clock.now_us() - round(GIVE_UP_S * 1e6)
        done = True
        for target in self._targets:
            events = await service.db(service.records.untold, target.key, oldest_us, MOST_ATTEMPTS)
            for event in events:
                if event.name.removeprefix("crossfade.") not in self._settings.events:
                    continue
                error = await self._tell(target, event)
                now_us = service.clock.now_us()
                await service.db(service.records.told, event.id, target.key, now_us, error)
                if error:
                    # The rest of this target waits, so that it is told in order.
                    done = False
                    break
        return done

    async def _tell(self, target: Target, event: OutboxEvent) -> str:
        body = {
            "event": event.name,
            "id": event.id,
            "at": format_time(event.created_us),
            **event.payload,
        }
        try:
            await target.send(alert_text(event), body)
        except Exception as error:  # noqa: BLE001 - a target's fault must disturb nothing
            # The text of a library's error may hold the URL, which is a secret.
            why = str(error) if isinstance(error, RuntimeError) else type(error).__name__
            _log.warning("an alert was not taken", to=target.label, alert=event.name, why=why)
            return why
        self.told += 1
        return ""

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._service.alerting.wait()
        except TimeoutError:
            pass
        self._service.alerting.clear()
