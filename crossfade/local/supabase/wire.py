"""What travels on Realtime's WebSocket: protocol 1.0.0 (JSON objects) and 2.0.0 (JSON arrays,
and binary frames for broadcasts). Bytes in, values out; no I/O.

The facts are those of recorded sessions with the real server (``tests/vectors/realtime``).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "PREFIX",
    "Broadcast",
    "ClientMessage",
    "RawJson",
    "Version",
    "decode",
    "encode_broadcast",
    "encode_message",
]

Version = Literal["1.0.0", "2.0.0"]
PREFIX = "realtime:"
_PUSH = 3
_USER_BROADCAST = 4
_PUSH_HEADER = 7
_BINARY, _JSON = 0, 1
# Half of a pair could be read but not be written to anybody.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class ClientMessage:
    """A message of a client. ``binary`` holds the content of a binary broadcast push, whose
    event is in ``payload["event"]``; ``is_json`` says what that content is."""

    topic: str
    event: str
    payload: Any
    ref: Any = None
    join_ref: Any = None
    binary: bytes | None = None
    is_json: bool = False


class RawJson(str):
    """A payload that is JSON text already."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A broadcast to deliver.

    Either ``envelope`` (a JSON push: the whole payload as the client sent it) or ``event`` with
    ``content`` (a binary push, a single REST call, or a row of the database), which 2.0.0
    sockets get as a binary frame. ``meta`` is the row's id and the like.
    """

    topic: str
    private: bool
    event: str = ""
    content: bytes = b""
    is_json: bool = True
    meta: Mapping[str, Any] = field(default_factory=dict)
    envelope: Mapping[str, Any] | None = None


def decode(raw: str | bytes, version: Version) -> ClientMessage | None:
    """Read a client's frame; None for what is no message (the real server ignores it)."""
    if isinstance(raw, bytes):
        return _decode_push(raw) if version == "2.0.0" else None
    try:
        value = json.loads(raw, parse_constant=_refuse)
        if _SURROGATE.search(raw):
            _dumps(value).encode()
    except (ValueError, RecursionError):
        return None
    if version == "2.0.0":
        if not isinstance(value, list) or len(value) != 5:
            return None
        join_ref, ref, topic, event, payload = value
    else:
        if not isinstance(value, dict):
            return None
        topic, event, payload = value.get("topic"), value.get("event"), value.get("payload")
        ref, join_ref = value.get("ref"), value.get("join_ref")
    if not isinstance(topic, str) or not isinstance(event, str):
        return None
    return ClientMessage(topic, event, payload, ref, join_ref)


def encode_message(
    version: Version, topic: str, event: str, payload: Any, *, ref: Any = None, join_ref: Any = None
) -> str:
    """A message of the server that is no broadcast."""
    content = payload if isinstance(payload, RawJson) else _dumps(payload)
    if version == "2.0.0":
        refs = f"{_dumps(join_ref)},{_dumps(ref)}"
        return f"[{refs},{_dumps(topic)},{_dumps(event)},{content}]"
    return (
        f'{{"ref":{_dumps(ref)},"payload":{content},'
        f'"event":{_dumps(event)},"topic":{_dumps(topic)}}}'
    )


def encode_broadcast(version: Version, message: Broadcast) -> str | bytes | None:
    """A broadcast for a socket of this version; None when it can not travel on it."""
    topic = PREFIX + message.topic
    if message.envelope is not None:
        if version == "2.0.0":
            return f'[null,null,{_dumps(topic)},"broadcast",{_dumps(message.envelope)}]'
        return f'{{"ref":null,"payload":{_dumps(message.envelope)},' + _tail(topic)
    if version == "2.0.0":
        return _encode_user_broadcast(topic, message)
    if not message.is_json:
        return None
    meta = f'"meta":{_dumps(message.meta)},' if message.meta else ""
    return (
        f'{{"ref":null,"payload":{{"event":{_dumps(message.event)},{meta}'
        f'"payload":{message.content.decode()},"type":"broadcast"}},' + _tail(topic)
    )


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _tail(topic: str) -> str:
    return f'"event":"broadcast","topic":{_dumps(topic)}}}'


def _dumps(value: Any) -> str:
    # Sorted, as the real server's maps come out.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _decode_push(raw: bytes) -> ClientMessage | None:
    """Type 3: sizes of join_ref, ref, topic, event and metadata, the encoding, then these."""
    if len(raw) < _PUSH_HEADER or raw[0] != _PUSH:
        return None
    at, parts = _PUSH_HEADER, []
    for size in raw[1:6]:
        parts.append(raw[at : at + size])
        at += size
    if at > len(raw):
        return None
    try:
        join_ref, ref, topic, event, _ = (part.decode() for part in parts)
    except UnicodeDecodeError:
        return None
    return ClientMessage(
        topic,
        "broadcast",
        {"event": event},
        ref or None,
        join_ref or None,
        raw[at:],
        raw[6] == _JSON,
    )


def _encode_user_broadcast(topic: str, message: Broadcast) -> bytes | None:
    """Type 4: sizes of topic, event and metadata, the encoding, then these and the content."""
    meta = _dumps(message.meta).encode() if message.meta else b""
    names = (topic.encode(), message.event.encode(), meta)
    if any(len(name) > 255 for name in names):
        return None
    encoding = _JSON if message.is_json else _BINARY
    header = bytes([_USER_BROADCAST, *(len(name) for name in names), encoding])
    return header + b"".join(names) + message.content
