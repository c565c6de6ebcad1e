"""The hub's telemetry: what its process uses of the machine, about once a second.

Only Crossfade's own hub tells it; an application's server is watched by whoever runs it. The
control server counts it and lets nothing wait for it (``Role.follows_flags``), and a control
server that is away disturbs nothing here.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from crossfade.adapters.clock import SystemClock
from crossfade.adapters.process_usage import process_usage
from crossfade.core.telemetry import Report, Role
from crossfade.ports import Clock, Reporter
from crossfade.subscriber_reports import REPORT_S, send

__all__ = ["hub_name", "keep_reporting"]


def hub_name(url: str) -> str:
    """A hub's name in telemetry; the same after a restart.

    Args:
        url: where it listens.
    """
    return f"hub-{socket.gethostname()}-{urlsplit(url).port}"


async def keep_reporting(
    reporter: Reporter,
    instance: str,
    figures: Callable[[], Mapping[str, float]],
    clock: Clock | None = None,
) -> None:
    """Report until cancelled.

    Args:
        figures: what to tell besides the process's own usage.
    """
    clock = clock or SystemClock()
    reported_ms = clock.monotonic_ms()
    while True:
        await asyncio.sleep(REPORT_S)
        now_ms = clock.monotonic_ms()
        report = Report(
            instance=instance,
            role=Role.HUB,
            at_us=clock.now_us(),
            interval_ms=float(max(1, now_ms - reported_ms)),
            flag_version=0,
            resources={**figures(), **process_usage()},
        )
        reported_ms = now_ms
        await send(reporter, report)
