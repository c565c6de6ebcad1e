"""An application's own wire format, and how an event's identity survives it.

A codec turns an event into a frame of the application's own and back into what such a frame
tells. Most formats know nothing of sources, epochs and sequences, so a codec declares which
``identity`` it carries:

``stamp``
    a declared field holds ``stamp(event)``, opaque text with every attribute that the rest of
    the frame lacks. A reader needs nothing else.
``id``
    a declared field holds the event's ``id``; a reader finds the rest in the journal.
``content``
    nothing is carried. A reader finds the event in the journal by what survives the codec;
    events that look alike are told apart by their order only.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import orjson

from crossfade.core.canonical import canonical_json, parse_json
from crossfade.core.event import Event, content_hash
from crossfade.errors import InvalidEvent, SettingsError

__all__ = [
    "Codec",
    "Identity",
    "JsonCodec",
    "Received",
    "canonical",
    "check_codec",
    "from_stamp",
    "seen_through",
    "stamp",
]

Identity = Literal["stamp", "id", "content"]

_MARKER = "cf1."
_STAMP_TYPES = [str, str, str, int, str, str, str, int, int, int, str, int, int]
"""Those of ``Event``'s fields, in their order."""
_NOTHING = object()
_CANARIES = (
    '{"n":1}',
    '{"n":2}',
    '{"big":12345678901234567890,"small":-9007199254740993}',
    '{"a":1.5,"b":1e+30,"c":0.000001}',
    '{"1":1,"10":2,"2":3,"A":4,"a":5}',
    '["\u00e9","\U0001f600","\\u0001\\n\\"\\\\/",null,true,{}]',
)
"""Content in canonical form."""


class Received(NamedTuple):
    """What a frame tells of one event.

    ``data`` is its content as a JSON value; ``type`` and ``subject`` are "" where the format
    has no place for them; ``mark`` is what the declared field held, a stamp or an id.
    """

    data: Any
    type: str = ""
    subject: str = ""
    mark: str = ""


class Codec(Protocol):
    """Between events and an application's frames. Both ways must be pure and quick."""

    @property
    def identity(self) -> Identity:
        """What of an event's identity its frames carry."""
        ...

    def encode(self, event: Event) -> str | bytes:
        """The frame, text or binary.

        Raises:
            InvalidEvent: this event has no frame; it is parked with the message.
        """
        ...

    def decode(self, frame: str | bytes) -> Sequence[Received]:
        """The events of a frame; none for one that holds none, such as a greeting.

        Raises:
            InvalidEvent: it can not be read.
        """
        ...


def stamp(event: Event) -> str:
    """Everything of ``event`` but its content, as URL-safe text of some 200 characters."""
    fields = [*event._replace(data="")]
    return _MARKER + base64.urlsafe_b64encode(orjson.dumps(fields)).decode().rstrip("=")


def from_stamp(mark: str, data: str) -> Event:
    """The event of a stamp and a content (canonical JSON text); its hash is the one that travelled.

    Raises:
        InvalidEvent: this is no stamp.
    """
    try:
        if not mark.startswith(_MARKER):
            raise ValueError("it does not begin as one")
        text = mark[len(_MARKER) :]
        fields = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if list(map(type, fields)) != _STAMP_TYPES:
            raise ValueError("it has other fields")
    except (ValueError, TypeError) as error:
        raise InvalidEvent(f"stamp: not one of Crossfade's: {error}") from error
    return Event(*fields)._replace(data=data)


def seen_through(codec: Codec, event: Event) -> Received:
    """What a reader sees of ``event`` if nobody altered it on the way, its content canonical.

    Raises:
        InvalidEvent: the codec does not give exactly one event back.
    """
    found = codec.decode(codec.encode(event))
    if len(found) != 1:
        raise InvalidEvent(f"codec: {len(found)} events come back for one")
    return canonical(found[0])


def canonical(received: Received) -> Received:
    """The same with its content as canonical JSON text, whatever re-serialised it on the way.

    Raises:
        InvalidEvent: it has no canonical form.
    """
    return received._replace(data=canonical_json(received.data))


def check_codec(codec: Codec) -> list[str]:
    """What is wrong with a codec, found with canaries: numbers, escapes and key orders that
    serialisers like to change. One line per fault, empty when it can be used.
    """
    faults = []
    seen = []
    for number, text in enumerate(_CANARIES):
        event = Event(
            f"canary-{number}", "canary", "crossfade.canary", 1_700_000_000_000_000 + number,
            "a/b", "system", "system", 1, 1, number + 1, text, 0, 1,
        )  # fmt: skip
        event = event._replace(hash=content_hash(event))
        try:
            found = seen_through(codec, event)
            seen.append(found)
            if codec.identity == "id" and found.mark != event.id:
                faults.append(f"the id {event.id!r} comes back as {found.mark!r}")
            if codec.identity == "stamp" and from_stamp(found.mark, found.data) != event:
                faults.append(f"content that comes back altered: {text} as {found.data}")
        except InvalidEvent as error:
            faults.append(f"{text}: {error}")
        except Exception as error:  # noqa: BLE001 - another's code: whatever it raises is a fault
            faults.append(f"{text}: {type(error).__name__}: {error}")
    if codec.identity == "content" and len(set(seen)) < len(seen):
        faults.append("events of different content look alike through it")
    return faults


class JsonCodec:
    """A JSON object a frame, its parts at dotted paths: ``JsonCodec(data="order", type="kind",
    mark="meta.trace", identity="id")`` makes ``{"kind": …, "order": …, "meta": {"trace": …}}``.

    Args:
        data, type, subject, mark: where the content, the type, the subject and the identity
            stand; "" leaves them out. Only the content must have a place.
        identity: what ``mark`` holds.
        constant: what every frame holds besides, such as ``{"v": 2}``; not looked at again.

    Frames without the content's place are none of Crossfade's: they hold no event.
    """

    def __init__(
        self,
        *,
        data: str = "data",
        type: str = "type",  # noqa: A002 - CloudEvents' own word
        subject: str = "",
        mark: str = "",
        identity: Identity = "content",
        constant: Mapping[str, Any] | None = None,
    ) -> None:
        if not data or (identity != "content") != bool(mark):
            raise SettingsError(
                ["codec: data needs a place, and mark one exactly when the identity is carried"]
            )
        self.identity: Identity = identity
        self._places = {
            name: tuple(path.split("."))
            for name, path in (("data", data), ("type", type), ("subject", subject), ("mark", mark))
            if path
        }
        self._constant = orjson.dumps(dict(constant or {}))

    def encode(self, event: Event) -> str:
        """One frame of text."""
        values = {"data": orjson.Fragment(event.data), "type": event.type, "subject": event.subject}
        if self.identity != "content":
            values["mark"] = stamp(event) if self.identity == "stamp" else event.id
        frame: dict[str, Any] = orjson.loads(self._constant)
        for name, path in self._places.items():
            inner = frame
            for part in path[:-1]:
                inner = inner.setdefault(part, {})
            inner[path[-1]] = values[name]
        return orjson.dumps(frame).decode()

    def decode(self, frame: str | bytes) -> list[Received]:
        """Its event, or none."""
        value = parse_json(frame)
        found = {name: _at(value, path) for name, path in self._places.items()}
        if found["data"] is _NOTHING:
            return []
        return [
            Received(
                found["data"],
                *(_text(name, found.get(name, "")) for name in ("type", "subject", "mark")),
            )
        ]


def _at(value: Any, path: Sequence[str]) -> Any:
    for part in path:
        if not isinstance(value, dict) or part not in value:
            return _NOTHING
        value = value[part]
    return value


def _text(name: str, value: Any) -> str:
    if value is _NOTHING:
        return ""
    if not isinstance(value, str):
        raise InvalidEvent(f"{name}: must be text, not {type(value).__name__}")
    return value
