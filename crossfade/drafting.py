"""From what an application hands over to a draft: checked, classified, serialised once."""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from crossfade.core.canonical import canonical_json
from crossfade.core.classification import Classifier
from crossfade.core.event import Draft, check_text, parse_time, uuid7
from crossfade.core.routing import partition_of
from crossfade.errors import InvalidEvent

__all__ = ["Drafter"]

_FIELDS = frozenset({"type", "data", "key", "time", "id"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ENTROPY_BYTES = 10
"""Random bytes in one event's id (RFC 9562 asks for 74 bits)."""
_ENTROPY_AHEAD = 400
"""Ids whose randomness is fetched at once. A call of the kernel each lets go of the interpreter's
lock, which under load costs more than everything else that is done for an event."""
_YEAR_1000_US = (datetime(1000, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


class Drafter:
    """Makes drafts; every fault is an ``InvalidEvent`` that begins with the field's name.

    Args:
        partitions: of every topic; the key chooses among them.
        max_event_bytes: of the content as canonical JSON.
        now_us: the wall clock.
        random: gives so many random bytes; asked for many ids ahead.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        partitions: int,
        max_event_bytes: int,
        now_us: Callable[[], int],
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._classifier = classifier
        self._partitions = partitions
        self._max_event_bytes = max_event_bytes
        self._now_us = now_us
        self._random = random
        self.rules: Counter[str] = Counter()
        """How many drafts each rule of the classification has decided."""
        self._entropy = b""
        self._used = 0

    def draft(
        self,
        type_: str,
        data: Any,
        *,
        key: str = "",
        time: datetime | str | None = None,
        id: str | None = None,  # noqa: A002 - the caller's own name for it
    ) -> Draft:
        """Check, classify and serialise one event.

        Raises:
            InvalidEvent: naming the field and the fault.
        """
        type_ = check_text("type", type_)
        key = check_text("key", key, empty=True)
        now_us = self._now_us()
        minted = id is None
        event_id = uuid7(now_us, self._fresh()) if id is None else check_text("id", id)
        time_us = now_us if time is None else _time_us(time)
        text = canonical_json(data)
        size = len(text) if text.isascii() else len(text.encode())
        if size > self._max_event_bytes:
            raise InvalidEvent(
                f"data: {size} bytes, at most {self._max_event_bytes} are allowed "
                "(publisher.max_event_bytes)"
            )
        category, topic, rule = self._classifier.classify(type_, data)
        self.rules[rule] += 1
        partition = partition_of(topic, key, self._partitions)
        return Draft(event_id, type_, time_us, key, category, topic, partition, text, minted)

    def _fresh(self) -> bytes:
        start = self._used
        if start >= len(self._entropy):
            self._entropy, start = self._random(_ENTROPY_BYTES * _ENTROPY_AHEAD), 0
        self._used = start + _ENTROPY_BYTES
        return self._entropy[start : self._used]

    def draft_from(self, fields: Mapping[str, Any]) -> Draft:
        """The same from a mapping with ``type``, ``data`` and perhaps ``key``, ``time``, ``id``.

        Raises:
            InvalidEvent: also for a field that is missing or unknown.
        """
        if type(fields) is not dict and not isinstance(fields, Mapping):
            raise InvalidEvent(f"must be an object, not {type(fields).__name__}")
        for name in ("type", "data"):
            if name not in fields:
                raise InvalidEvent(f"{name}: is missing")
        if not fields.keys() <= _FIELDS:
            name = next(name for name in fields if name not in _FIELDS)
            raise InvalidEvent(
                f"{str(name)[:100]}: unknown field; there are {', '.join(sorted(_FIELDS))}"
            )
        key = fields.get("key")
        return self.draft(
            fields["type"],
            fields["data"],
            key="" if key is None else key,
            time=fields.get("time"),
            id=fields.get("id"),
        )


def _time_us(time: Any) -> int:
    if isinstance(time, str):
        time_us = parse_time(time)
    elif isinstance(time, datetime):
        if time.tzinfo is None or time.utcoffset() is None:
            raise InvalidEvent("time: has no zone; give an aware datetime, such as one in UTC")
        try:
            time_us = (time.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
        except OverflowError as error:
            raise InvalidEvent(f"time: {error}") from error
    else:
        raise InvalidEvent(
            f"time: must be a datetime with a zone or RFC 3339 text, not {type(time).__name__}"
        )
    if time_us < _YEAR_1000_US:
        raise InvalidEvent("time: is before the year 1000")
    return time_us
