"""The hub as a process of its own: ``python -m crossfade.local.hub_process --settings FILE``."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from crossfade.adapters.control import ControlClient
from crossfade.errors import UsageError
from crossfade.local.hub import Hub
from crossfade.local.hub_reports import hub_name, keep_reporting
from crossfade.settings import Settings, load_settings

__all__ = ["main"]


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with (
        Hub(settings.websocket) as hub,
        ControlClient(settings.control, "instance") as control,
    ):
        telling = asyncio.create_task(
            keep_reporting(control, hub_name(hub.url), hub.figures), name="hub-telemetry"
        )
        await stop.wait()
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; exit status 2 when the settings or the port do not allow it to start."""
    parser = argparse.ArgumentParser(
        prog="python -m crossfade.local.hub_process", description=__doc__
    )
    parser.add_argument("--settings", type=Path, required=True, help="a crossfade.toml")
    options = parser.parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each report, otherwise
    try:
        asyncio.run(_run(load_settings(options.settings, os.environ)))
    except UsageError as error:
        sys.stderr.write(f"hub: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
