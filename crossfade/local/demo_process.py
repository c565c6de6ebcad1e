"""What the demo's processes have in common: their life from the command line to SIGTERM."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable

from crossfade.errors import CrossfadeError
from crossfade.settings import Settings, load_settings

__all__ = ["run_until_sigterm"]


def run_until_sigterm(
    name: str,
    options: argparse.Namespace,
    work: Callable[[argparse.Namespace, Settings], Awaitable[None]],
) -> int:
    """Run ``work`` with the settings of ``options.settings``; SIGTERM cancels it.

    Answers the exit status: 1 when it could not go on, which is said on standard error.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)

    async def cancellable() -> None:
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await work(options, load_settings(options.settings, os.environ))

    try:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(cancellable())
    except CrossfadeError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 1
    return 0
