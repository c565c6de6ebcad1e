"""An event, its place in its stream, and the hash of its content.

CloudEvents 1.0 attributes (``id``, ``source``, ``type``, ``time``, ``subject``,
``data``) plus the extension attributes that Crossfade routes and proves by.
"""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from crossfade.errors import InvalidEvent

__all__ = [
    "MAX_EVENT_BYTES",
    "Draft",
    "Event",
    "Head",
    "Position",
    "Stream",
    "check_text",
    "content_hash",
    "format_time",
    "from_wire",
    "hash_from_hex",
    "hash_to_hex",
    "parse_time",
    "to_wire",
    "uuid7",
]

MAX_EVENT_BYTES = 65_536
"""Default limit of one event's content (``data``), in bytes of UTF-8."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_NAIVE = datetime(1970, 1, 1)  # half the cost of an aware one
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_MICROSECOND = timedelta(microseconds=1)
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)\Z", re.ASCII
)


class Stream(NamedTuple):
    """The unit of order and continuity: one partition of one topic of one source and epoch."""

    source: str
    epoch: int
    topic: str
    partition: int


class Position(NamedTuple):
    """Where an event stands: its stream and its sequence (gapless from 1)."""

    source: str
    epoch: int
    topic: str
    partition: int
    sequence: int

    @property
    def stream(self) -> Stream:
        return Stream(self.source, self.epoch, self.topic, self.partition)

    def __str__(self) -> str:
        return f"{self.source}/{self.epoch}/{self.topic}/{self.partition}/{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Read ``source/epoch/topic/partition/sequence`` (the source may hold slashes).

        Raises:
            InvalidEvent: when it is not of that form.
        """
        parts = text.rsplit("/", 4)
        try:
            source, epoch, topic, partition, sequence = parts
            return cls(source, int(epoch), topic, int(partition), int(sequence))
        except ValueError as error:
            raise InvalidEvent(
                f"{text!r} is not a position; write source/epoch/topic/partition/sequence"
            ) from error


class Head(NamedTuple):
    """The last committed sequence of a stream; ``floor`` is the first one still held."""

    stream: Stream
    sequence: int
    floor: int = 1


class Draft(NamedTuple):
    """An event that is classified and serialised but has no sequence yet."""

    id: str
    type: str
    time_us: int
    subject: str
    category: str
    topic: str
    partition: int
    data: str


class Event(NamedTuple):
    """One event as every store keeps it.

    ``time_us`` is microseconds since 1970 (UTC); ``subject`` is the key ("" when none);
    ``data`` is the canonical JSON text, verbatim; ``hash`` is the checksum that travelled
    with the event (signed 64 bits) and is never taken at its word: stores recompute it
    with ``content_hash``. ``committed_us`` is when the journal committed it, by the
    publisher's clock, so that latency can be measured where it is received; 0 when
    unknown. It is no part of the content and of no hash.
    """

    id: str
    source: str
    type: str
    time_us: int
    subject: str
    category: str
    topic: str
    partition: int
    epoch: int
    sequence: int
    data: str
    hash: int
    committed_us: int = 0

    @property
    def stream(self) -> Stream:
        return Stream(self.source, self.epoch, self.topic, self.partition)

    @property
    def position(self) -> Position:
        return Position(self.source, self.epoch, self.topic, self.partition, self.sequence)

    @property
    def payload(self) -> Any:
        """The content as a Python value (parsed anew at each call)."""
        return orjson.loads(self.data)

    @property
    def time(self) -> datetime:
        return _EPOCH + timedelta(microseconds=self.time_us)

    def is_intact(self) -> bool:
        """Whether the content still has the hash that travelled with it."""
        return content_hash(self) == self.hash


def content_hash(event: Event) -> int:
    """First 64 bits of SHA-256 over the position and content of ``event``, signed.

    Fields are separated by U+001F, which none of them can hold (``check_text`` refuses
    control characters; JSON escapes them). The same expression stands in the migration
    as ``crossfade.content_hash_v1``.
    """
    text = (
        f"{event.source}\x1f{event.epoch}\x1f{event.topic}\x1f{event.partition}\x1f"
        f"{event.sequence}\x1f{event.id}\x1f{event.type}\x1f{event.time_us}\x1f"
        f"{event.subject}\x1f{event.category}\x1f{event.data}"
    )
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


def hash_to_hex(value: int) -> str:
    """A signed 64-bit hash as 16 hexadecimal digits, the form it has on the wire."""
    return format(value & 0xFFFF_FFFF_FFFF_FFFF, "016x")


def hash_from_hex(text: str) -> int:
    """Inverse of ``hash_to_hex``."""
    value = int(text, 16)
    return value - (1 << 64) if value >= 1 << 63 else value


def format_time(time_us: int) -> str:
    """Microseconds since 1970 as RFC 3339 UTC text with six decimals."""
    # Not strftime, whose %Y has fewer than four digits for early years on some systems.
    moment = _EPOCH_NAIVE + timedelta(microseconds=time_us)
    return moment.isoformat(timespec="microseconds") + "Z"


def parse_time(text: str) -> int:
    """RFC 3339 text as microseconds since 1970; finer digits are cut.

    Raises:
        InvalidEvent: no date, no zone, or out of range.
    """
    match = _RFC3339.match(text)
    if match is None:
        raise InvalidEvent(f"time: {text!r} is not RFC 3339 with a zone")
    day, clock, fraction, zone = match.groups()
    zone = "+00:00" if zone in "Zz" else zone
    micro = (fraction or "0").ljust(6, "0")[:6]
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}.{micro}{zone}")
        return (moment.astimezone(UTC) - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError) as error:
        raise InvalidEvent(f"time: {text!r}: {error}") from error


def check_text(name: str, value: Any, *, limit: int = 256, empty: bool = False) -> str:
    """Check an attribute: a string without control characters, at most ``limit`` characters.

    Raises:
        InvalidEvent: naming the attribute and the fault.
    """
    if not isinstance(value, str):
        raise InvalidEvent(f"{name}: must be a string, not {type(value).__name__}")
    if not value and not empty:
        raise InvalidEvent(f"{name}: must not be empty")
    if len(value) > limit:
        raise InvalidEvent(f"{name}: {len(value)} characters, at most {limit} are allowed")
    if _CONTROL.search(value):
        raise InvalidEvent(f"{name}: control characters are not allowed")
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidEvent(f"{name}: not valid Unicode: {error.reason}") from error
    return value


def uuid7(now_us: int, random: bytes) -> str:
    """A UUID version 7 (RFC 9562) from a time and at least ten random bytes."""
    high = (now_us // 1000) & 0xFFFF_FFFF_FFFF
    value = high << 80 | int.from_bytes(random[:10], "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = format(value, "032x")
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def to_wire(event: Event) -> dict[str, Any]:
    """The event as the JSON object that travels in frames and in ``crossfade_ingest_v1``."""
    wire = {
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "time": format_time(event.time_us),
        "subject": event.subject,
        "category": event.category,
        "topic": event.topic,
        "partition": event.partition,
        "epoch": event.epoch,
        "sequence": event.sequence,
        "hash": hash_to_hex(event.hash),
        "data": event.data,
    }
    if event.committed_us:
        wire["committed"] = event.committed_us
    return wire


def from_wire(value: Any) -> Event:
    """Read an event from its wire object.

    Raises:
        InvalidEvent: a field is missing or of another type.
    """
    try:
        event = Event(
            id=value["id"],
            source=value["source"],
            type=value["type"],
            time_us=parse_time(value["time"]),
            subject=value["subject"],
            category=value["category"],
            topic=value["topic"],
            partition=int(value["partition"]),
            epoch=int(value["epoch"]),
            sequence=int(value["sequence"]),
            data=value["data"],
            hash=hash_from_hex(value["hash"]),
            committed_us=int(value.get("committed") or 0),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidEvent(f"wire event: {type(error).__name__}: {error}") from error
    if not isinstance(event.data, str) or event.sequence < 1:
        raise InvalidEvent("wire event: data must be JSON text and sequence at least 1")
    return event
