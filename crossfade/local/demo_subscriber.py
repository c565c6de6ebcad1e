"""One of the demo's subscribers, as a process of its own: it writes down what it is handed.

Nothing else is kept: its file is what the checker judges it by. Ends on SIGTERM.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

from crossfade.errors import CrossfadeError
from crossfade.local.recording import Recorder
from crossfade.settings import Settings, load_settings
from crossfade.subscriber import Subscriber

__all__ = ["main"]


async def _run(options: argparse.Namespace, settings: Settings) -> None:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    keys = None if options.key is None else [options.key]
    with Recorder(options.record) as recorder:
        async with Subscriber(settings, keys=keys, instance=options.name) as subscriber:
            async for event in subscriber:
                recorder.write([event] * (2 if event.id == options.double else 1))


def main() -> int:
    """Entry point; exit status 1 when it could not go on."""
    parser = argparse.ArgumentParser(description="One of the demo's subscribers.")
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--key", default=None)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--double", default=None, help="sabotage: this id is recorded twice")
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(_run(options, load_settings(options.settings, os.environ)))
    except CrossfadeError as error:
        sys.stderr.write(f"subscriber {options.name}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
