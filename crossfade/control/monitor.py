"""Looks every second whether a guardrail is broken, and keeps house."""

import asyncio

import structlog
from sqlalchemy.exc import SQLAlchemyError

from crossfade.adapters.process_usage import process_usage
from crossfade.control.service import ControlService
from crossfade.core.telemetry import Report, Role

__all__ = ["Monitor"]

PRUNE_S = 600.0

_log = structlog.get_logger("crossfade.control")


class Monitor:
    """Evaluates every ``control.monitor_s``, and at once when a report is alarming.

    A breach needs neither Prefect nor a person: the command that it gives lowers the flags
    in the same transaction that records it.
    """

    def __init__(self, service: ControlService) -> None:
        self._service = service
        self._prune_at = 0.0
        self._counted_us = service.clock.now_us()

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            try:
                await self.look()
            except SQLAlchemyError as error:
                _log.error("the monitor can not reach the database", error=str(error.args[:1]))
            except Exception:  # noqa: BLE001 - see below
                # A monitor that died of one odd report would be the worst of all failures.
                _log.exception("the monitor failed; it looks again")
            await self._pause()

    async def look(self) -> None:
        """One look."""
        service = self._service
        service.urgent.clear()
        await service.refresh()
        await service.watch()
        self._count_own_usage()
        await service.save_telemetry()
        now = asyncio.get_running_loop().time()
        if now >= self._prune_at:
            self._prune_at = now + PRUNE_S
            keep_us = round(service.settings.control.telemetry_keep_s * 1e6)
            await service.db(service.records.prune, service.clock.now_us() - keep_us)

    def _count_own_usage(self) -> None:
        """What this server uses counts with what the others report of themselves."""
        now_us = self._service.clock.now_us()
        report = Report(
            instance=Role.CONTROL.value,
            role=Role.CONTROL,
            at_us=now_us,
            interval_ms=(now_us - self._counted_us) / 1e3,
            flag_version=self._service.flags.version,
            resources=process_usage(),
        )
        self._counted_us = now_us
        self._service.observations.windows.add(report, now_us)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._service.settings.control.monitor_s):
                await self._service.urgent.wait()
        except TimeoutError:
            pass
