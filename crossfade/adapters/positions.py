"""A subscriber's positions in a file: replaced as a whole, never half-written."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import orjson

from crossfade.core.event import Stream
from crossfade.errors import UsageError

__all__ = ["PositionFile"]

VERSION = 1


class PositionFile:
    """``{"v": 1, "positions": [[source, epoch, topic, partition, next], …]}`` in one file.

    One subscriber per file. The work is done in a thread, so that the event loop never
    waits for the disk. A thread goes on when its caller is cancelled; so saves are done one
    after the other, and none undoes a later one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._asked = 0
        self._saved = 0
        self._saving = Lock()

    async def load(self) -> dict[Stream, int] | None:
        """The positions; None when there is no file yet.

        Raises:
            UsageError: it can not be read, or a later version wrote it. It is left as it is:
                beginning anew without a word would repeat every effect.
        """
        return await asyncio.to_thread(self._load)

    async def save(self, positions: Mapping[Stream, int]) -> None:
        """Replace the file, unless a later call already has; durable when this returns.

        Raises:
            OSError: the disk is full or the folder can not be written; the old file stays.
        """
        self._asked += 1
        await asyncio.to_thread(self._save, self._asked, dict(positions))

    def _load(self) -> dict[Stream, int] | None:
        try:
            document = orjson.loads(self.path.read_bytes())
            if document["v"] != VERSION:
                raise ValueError(f"version {document['v']!r}, this side reads {VERSION}")
            return {_stream(row): int(row[4]) for row in document["positions"]}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise UsageError(
                f"{self.path}: positions can not be read ({error}); mend the file, or move it "
                "away to begin anew"
            ) from error

    def _save(self, number: int, positions: Mapping[Stream, int]) -> None:
        with self._saving:
            if number > self._saved:
                self._replace(positions)
                self._saved = number

    def _replace(self, positions: Mapping[Stream, int]) -> None:
        rows = [[*stream, following] for stream, following in sorted(positions.items())]
        content = orjson.dumps({"v": VERSION, "positions": rows})
        temporary = self.path.with_name(self.path.name + ".new")
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)


def _stream(row: Any) -> Stream:
    return Stream(str(row[0]), int(row[1]), str(row[2]), int(row[3]))
