"""``python -m crossfade.control --settings FILE``: run the control server until SIGTERM."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

import structlog

from crossfade.control.server import ControlServer
from crossfade.errors import CrossfadeError, UsageError
from crossfade.settings import Settings, load_settings

__all__ = ["main"]


def main() -> None:
    """Entry point; exit statuses are those of ``crossfade.cli``."""
    parser = argparse.ArgumentParser(
        prog="python -m crossfade.control",
        description="The control server: flags, telemetry, the rollout and its audit log.",
        epilog="Example: python -m crossfade.control --settings crossfade.toml",
    )
    parser.add_argument("--settings", type=Path, metavar="FILE", help="a crossfade.toml")
    arguments = parser.parse_args()
    _log_to_stderr()
    try:
        asyncio.run(_serve(load_settings(arguments.settings, os.environ)))
    except CrossfadeError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"crossfade control: {line}\n")
        raise SystemExit(2 if isinstance(error, UsageError) else 1) from None


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with ControlServer(settings) as server:
        stopped = asyncio.create_task(stop.wait())
        ended = asyncio.create_task(server.ended())
        try:
            await asyncio.wait((stopped, ended), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                ended.result()
        finally:
            for task in (stopped, ended):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task


def _log_to_stderr() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(
                key_order=("timestamp", "level", "event"), bool_as_flag=False
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


if __name__ == "__main__":
    main()
