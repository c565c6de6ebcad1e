"""JSON lines as people feed them in: a file, a compressed file, or standard input.

One event a line: ``{"id"?, "type", "time"?, "key"?, "data"}``. Anything else is refused with
the line's number, so that a wrong file is noticed at its first wrong line.
"""

import gzip
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from crossfade.core.canonical import parse_json
from crossfade.core.event import check_text, parse_time
from crossfade.errors import InvalidEvent, UsageError

__all__ = ["MAX_LINE_BYTES", "STANDARD_INPUT", "InputEvent", "open_lines", "parse_line", "parsed"]

STANDARD_INPUT = Path("-")
MAX_LINE_BYTES = 8_000_000
"""Longest line that is read at all; the event's own limit is the publisher's."""

_FIELDS = ("id", "type", "time", "key", "data")


class InputEvent(NamedTuple):
    """One line, parsed. ``id`` and ``time_us`` are None, ``key`` "" where the line has none."""

    line: int
    id: str | None
    type: str
    time_us: int | None
    key: str
    data: Any


@contextmanager
def open_lines(path: Path) -> Iterator[IO[bytes]]:
    """Open a file of lines; ``-`` is standard input, ``.gz`` is unpacked on the way.

    Raises:
        UsageError: it can not be opened.
    """
    if path == STANDARD_INPUT:
        yield sys.stdin.buffer
        return
    with ExitStack() as exits:
        try:
            opened = gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115
            file = exits.enter_context(cast("IO[bytes]", opened))
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}") from error
        yield file


def parsed(lines: IO[bytes], name: str) -> Iterator[InputEvent]:
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


def parse_line(number: int, line: bytes) -> InputEvent:
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
    time, key = value.get("time"), value.get("key")
    if time is not None and not isinstance(time, str):
        raise InvalidEvent(f"time: must be RFC 3339 text, not {type(time).__name__}")
    return InputEvent(
        line=number,
        id=None if value.get("id") is None else check_text("id", value["id"]),
        type=check_text("type", value["type"]),
        time_us=None if time is None else parse_time(time),
        key="" if key is None else check_text("key", key, empty=True),
        data=value["data"],
    )


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
