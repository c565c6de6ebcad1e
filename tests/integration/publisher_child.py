"""A publisher in a process of its own, publishing known ids as fast as it can until killed.

Arguments: folder, hub's URL, how many events. Started again it publishes the same ids again,
as an application would that does not know how far it came.
"""

import asyncio
import sys
from pathlib import Path

from crossfade import Publisher
from tests.integration.publishers import make_settings


async def main(folder: Path, url: str, count: int) -> None:
    settings = make_settings(folder, websocket={"url": url})
    async with Publisher(settings) as publisher:
        print("ready", flush=True)
        for number in range(count):
            await publisher.publish(
                "t", {"n": number}, key=f"key-{number % 7}", id=f"event-{number}"
            )
            print(number, flush=True)
        owed = await publisher.close()
        print("closed", owed, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
