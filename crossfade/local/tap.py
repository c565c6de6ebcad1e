"""The tap as a process: ``python -m crossfade.local.tap --settings FILE``."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from crossfade.errors import CrossfadeError, UsageError
from crossfade.settings import Settings, load_settings
from crossfade.tap import Tap

__all__ = ["main"]


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Tap(settings) as tap:
        stopping = asyncio.create_task(stop.wait())
        failing = asyncio.create_task(tap.wait())
        await asyncio.wait((stopping, failing), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if failing.done():
            failing.result()
        failing.cancel()


def main(arguments: list[str] | None = None) -> int:
    """Entry point; exit status 2 when the settings or the recording do not allow it to start."""
    parser = argparse.ArgumentParser(prog="python -m crossfade.local.tap", description=__doc__)
    parser.add_argument("--settings", type=Path, required=True, help="a crossfade.toml")
    options = parser.parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    # The client of Realtime reports every failed attempt at length; ours says it once.
    for name in ("realtime", "httpx", "websockets"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        asyncio.run(_run(load_settings(options.settings, os.environ)))
    except UsageError as error:
        sys.stderr.write(f"tap: {error}\n")
        return 2
    except CrossfadeError as error:
        sys.stderr.write(f"tap: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
