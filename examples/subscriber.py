"""A subscriber: every event of one customer, in order and once, over whichever transport."""

import asyncio
import sys
from pathlib import Path

from crossfade import Subscriber


async def main(customer: str) -> None:
    async with Subscriber(keys=[customer], positions=Path("seen.json")) as subscriber:
        async for event in subscriber:
            print(event.time.isoformat(), event.type, event.payload, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
