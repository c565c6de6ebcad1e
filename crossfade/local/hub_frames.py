"""Reading what clients and publishers send to the reference hub."""

from typing import Any

from crossfade.core.event import Stream
from crossfade.core.frames import decode_stream
from crossfade.errors import InvalidEvent

__all__ = ["Interest", "parse_interest", "parse_place", "parse_positions", "parse_range"]

Interest = frozenset[tuple[str, frozenset[int] | None]] | None
"""Topics and, per topic, partitions (None: all); None for everything. Hashable, so that
clients with the same interest share one frame."""


def parse_interest(value: Any) -> Interest:
    """Read ``partitions`` of a subscribe frame.

    Raises:
        InvalidEvent: when it is neither null nor ``{topic: [numbers] or null}``.
    """
    if value is None:
        return None
    try:
        return frozenset(
            (str(topic), None if numbers is None else frozenset(int(one) for one in numbers))
            for topic, numbers in value.items()
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidEvent(f"subscribe: partitions: {error}") from error


def parse_positions(value: Any) -> dict[Stream, int]:
    """Read ``positions`` of a subscribe frame: per stream the next sequence it needs.

    Raises:
        InvalidEvent: when a row is malformed.
    """
    try:
        return {
            Stream(str(row[0]), int(row[1]), str(row[2]), int(row[3])): int(row[4])
            for row in value or ()
        }
    except (IndexError, TypeError, ValueError) as error:
        raise InvalidEvent(f"subscribe: positions: {error}") from error


def parse_place(value: Any) -> tuple[Stream, int]:
    """The stream and sequence of a published wire event; the publisher vouches for the rest.

    Raises:
        InvalidEvent: one of the position's fields or the data is missing or of another type.
    """
    stream = decode_stream(value if isinstance(value, dict) else {})
    sequence = value.get("sequence")
    if not isinstance(sequence, int) or sequence < 1 or not isinstance(value.get("data"), str):
        raise InvalidEvent("publish: an event needs a sequence from 1 and data as JSON text")
    return stream, sequence


def parse_range(frame: dict[str, Any]) -> tuple[int, int]:
    """``first`` and ``last`` of a fill frame.

    Raises:
        InvalidEvent: when they are no range.
    """
    try:
        first, last = int(frame["first"]), int(frame["last"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidEvent(f"fill: first and last: {error}") from error
    if first < 1 or last < first:
        raise InvalidEvent(f"fill: {first} to {last} is no range")
    return first, last
