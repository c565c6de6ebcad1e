"""JSON lines as people feed them in: a file, a compressed file, or standard input.

One event a line: ``{"id"?, "type", "time"?, "key"?, "data"}``. Anything else is refused with
the line's number, so that a wrong file is noticed at its first wrong line. What the fields
may hold is checked where the event is made (``crossfade.drafting``).
"""

import gzip
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from crossfade.core.canonical import parse_json
from crossfade.core.event import check_text
from crossfade.errors import InvalidEvent, UsageError

__all__ = ["MAX_LINE_BYTES", "STANDARD_INPUT", "InputLine", "open_lines", "parse_line", "parsed"]

STANDARD_INPUT = Path("-")
MAX_LINE_BYTES = 8_000_000
"""Longest line that is read at all; the event's own limit is the publisher's."""

_FIELDS = ("id", "type", "time", "key", "data")


class InputLine(NamedTuple):
    """One event as it stands in the input: its line's number (from 1) and its fields."""

    number: int
    fields: Mapping[str, Any]

    @property
    def type(self) -> str:
        return str(self.fields["type"])

    @property
    def data(self) -> Any:
        return self.fields["data"]


@contextmanager
def open_lines(path: Path) -> Iterator[IO[bytes]]:
    """Open a file of lines; ``-`` is standard input, ``.gz`` is unpacked on the way.

    Raises:
        UsageError: it can not be opened.
    """
    if path == STANDARD_INPUT:
        yield _standard_input()
        return
    with ExitStack() as exits:
        try:
            opened = gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115
            file = exits.enter_context(cast("IO[bytes]", opened))
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}") from error
        yield file


def _standard_input() -> IO[bytes]:
    try:
        number = sys.stdin.fileno()
    except (OSError, ValueError):
        return sys.stdin.buffer  # somebody put a file of their own in its place
    # An object of our own: a thread that waits in sys.stdin's own buffer when the interpreter
    # ends (a fault in an earlier line, Ctrl-C) holds its lock, and the interpreter aborts.
    return open(number, "rb", closefd=False)


def parsed(lines: IO[bytes], name: str) -> Iterator[InputLine]:
    """The events of the lines, in order; empty lines are passed over.

    Raises:
        InvalidEvent: at the first line that is not an event, naming it; also where the
            compressed stream breaks off.
    """
    number = 0
    try:
        while line := lines.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise InvalidEvent(f"longer than {MAX_LINE_BYTES} bytes")
            if line.strip():
                yield parse_line(number, line)
    except InvalidEvent as error:
        raise InvalidEvent(f"{name}: line {number}: {error}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidEvent(f"{name}: after line {number}: can not be read: {error}") from error


def parse_line(number: int, line: bytes) -> InputLine:
    """Parse one line.

    Raises:
        InvalidEvent: naming the field and the fault.
    """
    value = parse_json(line)
    if not isinstance(value, dict):
        raise InvalidEvent(f"must be an object, not {type(value).__name__}")
    unknown = _quoted(name for name in value if name not in _FIELDS)
    if unknown:
        raise InvalidEvent(f"unknown field {unknown}; known are {_quoted(_FIELDS)}")
    missing = _quoted(name for name in ("type", "data") if name not in value)
    if missing:
        raise InvalidEvent(f"field {missing} is missing")
    check_text("type", value["type"])
    return InputLine(number, value)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
