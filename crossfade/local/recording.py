"""A subscriber's recording: every event that it was handed, verbatim, one wire object a line."""

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from crossfade.core.event import Event
from crossfade.core.frames import encode_event
from crossfade.errors import UsageError

__all__ = ["LineCount", "Recorder"]

_CHUNK_BYTES = 1 << 20


class Recorder:
    """Appends events to a file; a context manager.

    What ``write`` was given has left this process when it returns: a recorder that is killed
    afterwards loses none of it.

    Raises (on entering):
        UsageError: the file can not be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        try:
            self._file = self._path.open("ab", buffering=0)
        except OSError as error:
            raise UsageError(f"--record {self._path}: {error.strerror or error}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def write(self, events: Iterable[Event]) -> None:
        """Append events in one write.

        Raises:
            UsageError: the file can not be written (full disk); what stands before is whole.
        """
        block = memoryview(b"".join(encode_event(event) + b"\n" for event in events))
        try:
            while block:
                block = block[self._file.write(block) :]
        except OSError as error:
            raise UsageError(f"--record {self._path}: {error.strerror or error}") from error


class LineCount:
    """Counts the lines of a growing file, reading only what is new at each look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._lines = 0

    def look(self) -> int:
        """The complete lines so far; 0 while the file is not there."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                while chunk := file.read(_CHUNK_BYTES):
                    self._offset += len(chunk)
                    self._lines += chunk.count(b"\n")
        except FileNotFoundError:
            return 0
        return self._lines
