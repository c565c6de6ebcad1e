"""The frames that travel on both transports (docs/protocol.md).

A frame is a JSON object with ``v`` and ``kind``. Events are encoded once, as bytes, and
joined into frames; a hub keeps the same bytes in its history.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from crossfade.core.event import Event, Head, Stream, from_wire, to_wire
from crossfade.errors import InvalidEvent

__all__ = [
    "ENCODED_CHARACTERS",
    "ENCODED_EVENTS",
    "FRAME_VERSION",
    "decode_events",
    "decode_frame",
    "decode_heads",
    "decode_stream",
    "encode_event",
    "encode_frame",
    "events_frame",
    "heads_frame",
    "json_array",
    "pack",
]

FRAME_VERSION = 1
ENCODED_EVENTS = 8_192
"""Encoded events that are remembered: more than two batches of a relay."""
ENCODED_CHARACTERS = 2_048
"""Longest content of which that is done, so that all of them are some tens of megabytes at most."""


def encode_event(event: Event) -> bytes:
    """One event's wire object as JSON bytes; the newest are remembered, because a publisher's
    relays want the same ones within a moment.
    """
    if len(event.data) > ENCODED_CHARACTERS:
        return orjson.dumps(to_wire(event))
    return _encoded(event)


@lru_cache(ENCODED_EVENTS)
def _encoded(event: Event) -> bytes:
    return orjson.dumps(to_wire(event))


def events_frame(encoded: Iterable[bytes]) -> bytes:
    """A frame of kind ``events`` from events that are already encoded."""
    return b'{"v":1,"kind":"events","events":[' + b",".join(encoded) + b"]}"


def json_array(encoded: Iterable[bytes]) -> orjson.Fragment:
    """Events that are already encoded, as an array for ``orjson`` to put into a frame or a body."""
    return orjson.Fragment(b"[" + b",".join(encoded) + b"]")


def heads_frame(heads: Iterable[Head], at_us: int) -> bytes:
    """A frame of kind ``heads``: per stream its last sequence and its floor, as of ``at_us``."""
    rows = [[*head.stream, head.sequence, head.floor] for head in heads]
    return orjson.dumps({"v": FRAME_VERSION, "kind": "heads", "at_us": at_us, "heads": rows})


def encode_frame(kind: str, **fields: Any) -> bytes:
    """Any other frame."""
    return orjson.dumps({"v": FRAME_VERSION, "kind": kind, **fields})


def decode_frame(raw: str | bytes) -> dict[str, Any]:
    """Parse a frame and check its envelope.

    Raises:
        InvalidEvent: not JSON, not an object, another version, or without a kind.
    """
    try:
        frame = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidEvent(f"frame: not valid JSON: {error}") from error
    if not isinstance(frame, dict) or not isinstance(frame.get("kind"), str):
        raise InvalidEvent("frame: must be an object with a kind")
    if frame.get("v") != FRAME_VERSION:
        raise InvalidEvent(f"frame: version {frame.get('v')!r}, this side speaks {FRAME_VERSION}")
    return frame


def decode_events(frame: Mapping[str, Any]) -> list[Event]:
    """The events of a frame that has ``events``.

    Raises:
        InvalidEvent: when one of them is malformed.
    """
    events = frame.get("events")
    if not isinstance(events, list):
        raise InvalidEvent("frame: events must be a list")
    return [from_wire(value) for value in events]


def decode_heads(frame: Mapping[str, Any]) -> list[Head]:
    """The heads of a frame of kind ``heads``.

    Raises:
        InvalidEvent: when a row is malformed.
    """
    try:
        return [
            Head(
                Stream(str(row[0]), int(row[1]), str(row[2]), int(row[3])), int(row[4]), int(row[5])
            )
            for row in frame["heads"]
        ]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InvalidEvent(f"frame: heads: {error}") from error


def decode_stream(frame: Mapping[str, Any]) -> Stream:
    """The stream that a frame names in ``source``, ``epoch``, ``topic`` and ``partition``.

    Raises:
        InvalidEvent: when one of them is missing or of another type.
    """
    try:
        return Stream(
            str(frame["source"]), int(frame["epoch"]), str(frame["topic"]), int(frame["partition"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidEvent(f"frame: stream: {error}") from error


def pack(encoded: Sequence[bytes], limit_bytes: int) -> list[list[bytes]]:
    """Split encoded events into runs that each fit a frame of ``limit_bytes``, in order.

    A single event larger than the limit gets a run of its own; whoever sends it decides.
    """
    runs: list[list[bytes]] = []
    size = limit_bytes + 1
    for item in encoded:
        if size + len(item) + 1 > limit_bytes:
            runs.append([])
            size = len(events_frame(())) - 1  # the first event has no comma before it
        runs[-1].append(item)
        size += len(item) + 1
    return runs
