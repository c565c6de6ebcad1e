"""Who has joined which topic, and the fan-out of broadcasts."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from crossfade.local.supabase.faults import Faults
from crossfade.local.supabase.gateway import Identity
from crossfade.local.supabase.outbox import Outbox
from crossfade.local.supabase.wire import PREFIX, Broadcast, Version, encode_broadcast, encode_reply

__all__ = ["Channel", "Topics"]


@dataclass(slots=True, eq=False)
class Channel:
    """One join of one socket. ``may_write`` is None until the first push has asked."""

    topic: str
    private: bool
    join_ref: Any
    version: Version
    outbox: Outbox
    identity: Identity
    ack: bool = False
    receives_own: bool = False
    may_write: bool | None = None
    expiry: asyncio.TimerHandle | None = None

    def send(self, event: str, payload: Any, *, ref: Any = None) -> None:
        """A message of the server to this channel."""
        self.outbox.put(
            encode_reply(
                self.version,
                PREFIX + self.topic,
                event,
                payload,
                ref=ref,
                join_ref=self.join_ref,
            )
        )

    def reply(self, ref: Any, status: str, response: Any) -> None:
        self.send("phx_reply", {"status": status, "response": response}, ref=ref)

    def system(self, message: str, *, status: str, named: bool = True) -> None:
        """A ``system`` message, Realtime's way to tell a channel something."""
        payload = {"message": message, "status": status, "extension": "system"}
        if named:
            payload["channel"] = self.topic
        self.send("system", payload)


class Topics:
    """Every joined channel by topic; private and public channels of a name are two topics."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._channels: dict[tuple[str, bool], set[Channel]] = {}

    def add(self, channel: Channel) -> None:
        self._channels.setdefault((channel.topic, channel.private), set()).add(channel)

    def remove(self, channel: Channel) -> None:
        key = (channel.topic, channel.private)
        joined = self._channels.get(key)
        if joined is not None:
            joined.discard(channel)
            if not joined:
                del self._channels[key]

    def all(self) -> Iterator[Channel]:
        for joined in self._channels.values():
            yield from joined

    def broadcast(self, message: Broadcast, sender: Channel | None = None) -> None:
        """Give ``message`` to everybody who joined its topic; encoded once per version."""
        if self._faults.drops_live():
            return
        frames: dict[Version, str | bytes | None] = {}
        for channel in self._channels.get((message.topic, message.private), ()):
            if channel is sender and not channel.receives_own:
                continue
            if channel.version not in frames:
                frames[channel.version] = encode_broadcast(channel.version, message)
            frame = frames[channel.version]
            if frame is not None:
                channel.outbox.put(frame)
