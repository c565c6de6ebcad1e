"""A process that writes a journal until it is killed; prints each id once it is acknowledged."""

import asyncio
import resource
import sys
from pathlib import Path

from crossfade.errors import JournalUnavailable
from tests.unit.adapters.journals import draft, journal


async def publish(folder: Path) -> None:
    async with journal(folder) as book:
        print("ready", flush=True)

        async def lane(partition: int) -> None:
            for number in range(1, 1_000_000):
                events = await book.append([draft(number, partition=partition)])
                for event in events:
                    print(event.id, event.sequence, flush=True)

        await asyncio.gather(*(lane(partition) for partition in range(5)))


async def fill_the_disk(folder: Path) -> None:
    """No file may grow beyond 300 kB; then the limit is lifted, as if space had been made."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    accepted = refused = 0
    async with journal(folder) as book:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
        for number in range(1, 200):
            try:
                await book.append([draft(number, data='"' + "x" * 10_000 + '"')])
                accepted += 1
            except JournalUnavailable as error:
                if "free some space" not in str(error) and "disk failed" not in str(error):
                    raise
                refused += 1
                if refused == 3:
                    break
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        (event,) = await book.append([draft(1_000)])
        print(accepted, refused, event.sequence, flush=True)


if __name__ == "__main__":
    modes = {"publish": publish, "fill": fill_the_disk}
    asyncio.run(modes[sys.argv[1]](Path(sys.argv[2])))
