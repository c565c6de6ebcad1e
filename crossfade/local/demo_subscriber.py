"""One of the demo's subscribers, as a process of its own: it writes down what it is handed.

Nothing else is kept: its file is what the checker judges it by. Ends on SIGTERM.
"""

import argparse
import sys
from pathlib import Path

from crossfade.local.demo_process import run_until_sigterm
from crossfade.local.recording import Recorder
from crossfade.settings import Settings
from crossfade.subscriber import Subscriber

__all__ = ["main"]


async def _run(options: argparse.Namespace, settings: Settings) -> None:
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
    return run_until_sigterm(f"subscriber {options.name}", options, _run)


if __name__ == "__main__":
    sys.exit(main())
