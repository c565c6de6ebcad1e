"""Tells Prefect what happened; a Prefect that is down gets it when it is back."""

import asyncio
import random
from datetime import UTC, datetime
from typing import Any

import httpx
import structlog
from sqlalchemy.exc import SQLAlchemyError

from crossfade.control.records import OutboxEvent
from crossfade.control.service import ControlService
from crossfade.core.event import format_time
from crossfade.prefect_login import login_headers

__all__ = ["PrefectOutbox", "prefect_event"]

TIMEOUT_S = 10.0
RETRY_INITIAL_S = 0.5
RETRY_MAX_S = 30.0
IDLE_S = 30.0
"""Longest pause between two looks into the outbox, in seconds."""

_LABELS = ("stage", "starts")
"""What a trigger in Prefect can match: labels of the resource, not the payload."""

_TRY_AGAIN = (401, 403, 404, 408, 409, 425, 429)
_log = structlog.get_logger("crossfade.control")


def prefect_event(event: OutboxEvent, now: datetime) -> dict[str, Any]:
    """The event in the form of Prefect's ``POST /events``.

    ``occurred`` is when it is sent: Prefect's triggers pass over events from before their
    own time, and one that waited out an outage must still start the rollback. When it
    really happened is ``at`` in the payload.
    """
    rollout = str(event.payload.get("rollout_id", ""))
    labels = {
        f"crossfade.{name}": str(event.payload[name]) for name in _LABELS if name in event.payload
    }
    return {
        "id": event.id,
        "occurred": now.isoformat(),
        "event": event.name,
        "resource": {
            "prefect.resource.id": f"crossfade.rollout.{rollout}",
            "prefect.resource.name": str(event.payload.get("rollout", rollout)),
            **labels,
        },
        "related": [],
        "payload": {**event.payload, "at": format_time(event.created_us)},
    }


class PrefectOutbox:
    """Empties the outbox into Prefect's events API, in order, for as long as it takes."""

    def __init__(
        self, service: ControlService, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._service = service
        self._url = service.settings.prefect.api_url.rstrip("/")
        self._headers = login_headers(service.settings.prefect.auth.get_secret_value())
        self._transport = transport

    async def run(self) -> None:
        """Run until cancelled. Without ``prefect.api_url`` events stay in the outbox."""
        if not self._url:
            _log.info("prefect.api_url is not set: events wait in the outbox")
            return
        failures = 0
        async with httpx.AsyncClient(
            timeout=TIMEOUT_S, headers=self._headers, transport=self._transport, trust_env=False
        ) as http:
            while True:
                self._service.outgoing.clear()
                delivered = await self._deliver_all(http)
                failures = 0 if delivered else failures + 1
                if delivered:
                    await self._idle()
                    continue
                ceiling = min(RETRY_MAX_S, RETRY_INITIAL_S * 2 ** min(failures, 16))
                await asyncio.sleep(random.uniform(0.0, ceiling))  # noqa: S311 - jitter

    async def _idle(self) -> None:
        try:
            async with asyncio.timeout(IDLE_S):
                await self._service.outgoing.wait()
        except TimeoutError:
            pass

    async def _deliver_all(self, http: httpx.AsyncClient) -> bool:
        """Whether everything that was due is settled."""
        records, clock = self._service.records, self._service.clock
        try:
            for event in await self._service.db(records.undelivered):
                error, final = await self._deliver(http, event)
                settled = clock.now_us() if final else None
                await self._service.db(records.settle, event.id, settled, error)
                if error:
                    _log.warning(
                        "Prefect did not take an event",
                        event_name=event.name,
                        attempts=event.attempts + 1,
                        error=error,
                        given_up=final,
                    )
                if not final:
                    return False
        except SQLAlchemyError as error:
            _log.error("the outbox can not be read", error=type(error).__name__)
            return False
        return True

    async def _deliver(self, http: httpx.AsyncClient, event: OutboxEvent) -> tuple[str, bool]:
        """The error ("" when delivered), and whether the event is settled."""
        body = [prefect_event(event, datetime.now(UTC))]
        try:
            response = await http.post(f"{self._url}/events", json=body)
        except httpx.HTTPError as error:
            return str(error) or type(error).__name__, False
        if response.is_success:
            return "", True
        refused = 400 <= response.status_code < 500 and response.status_code not in _TRY_AGAIN
        return f"status {response.status_code}: {response.text[:200]}", refused
