"""``python -m benchmarks.workers ROLE FILE``: one process of a bench.

Each says ``{"ready": true}`` when it is, then answers JSON lines. The file holds the order (0600:
it names a project's keys).
"""

import asyncio
import importlib
import logging
import sys
from pathlib import Path

import orjson

ROLES = {
    "publisher": "publishing",
    "subscriber": "reading",
    "crowd": "crowding",
    "bare_crowd": "bare_crowd",
    "sockets": "others",
    "naive": "others",
    "bare": "others",
}


def main() -> None:
    """Run one role until its order is done or the bench ends it."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    for name in ("realtime", "httpx", "websockets"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    role = sys.argv[1]
    # Only the role's own module: what it imports counts into its memory and start.
    module = importlib.import_module(f"benchmarks.workers.{ROLES[role]}")
    asyncio.run(getattr(module, role)(orjson.loads(Path(sys.argv[2]).read_bytes())))


if __name__ == "__main__":
    main()
