"""An event, its place in its stream, and the hash of its content.

CloudEvents 1.0 attributes (``id``, ``source``, ``type``, ``time``, ``subject``,
``data``) plus the extension attributes that Crossfade routes and proves by.
"""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from crossfade.errors import InvalidEvent

__all__ = [
    "MAX_EVENT_BYTES",
    "MAX_INTEGER",
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
    "placed",
    "to_wire",
    "uuid7",
]

MAX_EVENT_BYTES = 65_536
"""Default limit of one event's content (``data``), in bytes of UTF-8."""

MAX_INTEGER = (1 << 63) - 1
"""Largest epoch, partition and sequence: what the stores' columns hold."""

_POSITION = re.compile(r"(.+)/(\d{1,19})/([^/]+)/(\d{1,19})/(\d{1,19})", re.ASCII | re.DOTALL)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_NAIVE = datetime(1970, 1, 1)  # half the cost of an aware one
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_MICROSECOND = timedelta(microseconds=1)
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)\Z", re.ASCII
)
_Content = tuple[str, str, str, int, str, str, str, int, int, int, str]
"""Everything of an event that its hash covers, in the order of ``Event``'s fields."""
_VARIANTS = {format(digit, "x"): format(digit & 0x3 | 0x8, "x") for digit in range(16)}
_SECONDS = 1_024
"""Seconds whose text is remembered, and the reverse: a stream's events share few of them."""


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
        match = _POSITION.fullmatch(text)
        if match is None or any(int(match[place]) > MAX_INTEGER for place in (2, 4, 5)):
            raise InvalidEvent(
                f"{text!r} is not a position; write source/epoch/topic/partition/sequence"
            )
        source, epoch, topic, partition, sequence = match.groups()
        return cls(source, int(epoch), topic, int(partition), int(sequence))


class Head(NamedTuple):
    """The last committed sequence of a stream; ``floor`` is the first one still held."""

    stream: Stream
    sequence: int
    floor: int = 1


class Draft(NamedTuple):
    """An event that is classified and serialised but has no sequence yet.

    ``minted``: its id was made for it just now, so no other event can have it, and nobody looks
    for one.
    """

    id: str
    type: str
    time_us: int
    subject: str
    category: str
    topic: str
    partition: int
    data: str
    minted: bool = False


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
    return _hash(event[:11])


def placed(draft: Draft, source: str, epoch: int, sequence: int, committed_us: int) -> Event:
    """The event that a draft becomes at its position, with its hash."""
    id_, type_, time_us, subject, category, topic, partition, data, _ = draft
    content = (
        id_, source, type_, time_us, subject, category, topic, partition, epoch, sequence, data,
    )  # fmt: skip
    return Event(*content, _hash(content), committed_us)


def _hash(content: _Content) -> int:
    # Unpacked at once: as many attributes of a named tuple cost as much as the hash itself.
    (
        id_, source, type_, time_us, subject, category, topic, partition, epoch, sequence, data,
    ) = content  # fmt: skip
    text = (
        f"{source}\x1f{epoch}\x1f{topic}\x1f{partition}\x1f{sequence}\x1f{id_}\x1f{type_}\x1f"
        f"{time_us}\x1f{subject}\x1f{category}\x1f{data}"
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
    second, micro = divmod(time_us, 1_000_000)
    return f"{_second_text(second)}.{micro:06d}Z"


@lru_cache(_SECONDS)
def _second_text(second: int) -> str:
    # Not strftime, whose %Y has fewer than four digits for early years on some systems.
    return (_EPOCH_NAIVE + timedelta(seconds=second)).isoformat()


def parse_time(text: str) -> int:
    """RFC 3339 text as microseconds since 1970; finer digits are cut.

    Raises:
        InvalidEvent: no date, no zone, or out of range.
    """
    micro = text[20:26]
    if text[26:] == "Z" and text[19] == "." and micro.isascii() and micro.isdigit():
        # As ``format_time`` writes it; whatever is wrong with its second is told below.
        second_us = _second_us(text[:19])
        if second_us is not None:
            return second_us + int(micro)
    return _parse_time(text)


@lru_cache(_SECONDS)
def _second_us(text: str) -> int | None:
    try:
        return _parse_time(f"{text}Z")
    except InvalidEvent:
        return None


def _parse_time(text: str) -> int:
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
    # In hexadecimal digits, because arithmetic on 128 bits costs twice as much: the version takes
    # the first digit's place, the variant the upper half of the fifth.
    when = format((now_us // 1000) & 0xFFFF_FFFF_FFFF, "012x")
    digits = random[:10].hex()
    variant = _VARIANTS[digits[4]]
    return f"{when[:8]}-{when[8:]}-7{digits[1:4]}-{variant}{digits[5:8]}-{digits[8:]}"


def to_wire(event: Event) -> dict[str, Any]:
    """The event as the JSON object that travels in frames and in ``crossfade_ingest_v1``."""
    (
        id_, source, type_, time_us, subject, category, topic, partition, epoch, sequence, data,
        hash_, committed_us,
    ) = event  # fmt: skip
    wire = {
        "id": id_,
        "source": source,
        "type": type_,
        "time": format_time(time_us),
        "subject": subject,
        "category": category,
        "topic": topic,
        "partition": partition,
        "epoch": epoch,
        "sequence": sequence,
        "hash": hash_to_hex(hash_),
        "data": data,
    }
    if committed_us:
        wire["committed"] = committed_us
    return wire


def from_wire(value: Any) -> Event:
    """Read an event from its wire object.

    Raises:
        InvalidEvent: a field is missing or of another type.
    """
    try:
        data, sequence = value["data"], int(value["sequence"])
        event = Event(
            value["id"],
            value["source"],
            value["type"],
            parse_time(value["time"]),
            value["subject"],
            value["category"],
            value["topic"],
            int(value["partition"]),
            int(value["epoch"]),
            sequence,
            data,
            hash_from_hex(value["hash"]),
            int(value.get("committed") or 0),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InvalidEvent(f"wire event: {type(error).__name__}: {error}") from error
    if not isinstance(data, str) or sequence < 1:
        raise InvalidEvent("wire event: data must be JSON text and sequence at least 1")
    return event
