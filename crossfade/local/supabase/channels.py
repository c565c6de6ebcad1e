"""Who has joined which topic, and the fan-out of what is sent to them."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from crossfade.local.supabase.authorize import Replayed
from crossfade.local.supabase.change_filters import Subscription
from crossfade.local.supabase.faults import Faults
from crossfade.local.supabase.gateway import Identity
from crossfade.local.supabase.outbox import Outbox
from crossfade.local.supabase.presence import CallLimit, Diff, Present
from crossfade.local.supabase.quotas import Quotas, Rate
from crossfade.local.supabase.wire import (
    PREFIX,
    Broadcast,
    Version,
    encode_broadcast,
    encode_message,
)

__all__ = ["TOO_MANY", "Channel", "Topics"]

TOO_MANY = "Too many messages per second"

_Frames = dict[Version, str | bytes | None]


@dataclass(slots=True, eq=False)
class Channel:
    """One join of one socket.

    Attributes:
        forget: takes it out of its socket and topic.
        may_write: by extension (``broadcast``, ``presence``) whether the caller may send;
            missing until the first push has asked.
        changes: what of ``postgres_changes`` it gets.
        replayed: ids of rows that it was given again; they do not come a second time live.
        expires: ends the wait for the token's expiry.
    """

    topic: str
    private: bool
    join_ref: Any
    version: Version
    outbox: Outbox
    identity: Identity
    forget: Callable[["Channel"], None]
    ack: bool = False
    receives_own: bool = False
    presence_key: str = ""
    sees_presence: bool = False
    calls: CallLimit = field(default_factory=CallLimit)
    may_write: dict[str, bool] = field(default_factory=dict)
    changes: tuple[Subscription, ...] = ()
    replayed: frozenset[str] = frozenset()
    expires: Callable[[], None] | None = None

    def send(self, event: str, payload: Any, *, ref: Any = None) -> None:
        """A message of the server to this channel alone."""
        topic = PREFIX + self.topic
        self.outbox.put(
            encode_message(self.version, topic, event, payload, ref=ref, join_ref=self.join_ref)
        )

    def reply(self, ref: Any, status: str, response: Any) -> None:
        self.send("phx_reply", {"status": status, "response": response}, ref=ref)

    def system(
        self, message: str, *, status: str, extension: str = "system", named: bool = True
    ) -> None:
        """A ``system`` message, Realtime's way to tell a channel something."""
        payload = {"message": message, "status": status, "extension": extension}
        if named:
            payload["channel"] = self.topic
        self.send("system", payload)

    def replay(self, row: Replayed) -> None:
        """A row of before the join; binary ones can not travel on protocol 1.0.0."""
        meta = {"id": row.id, "replayed": True}
        if row.binary is None:
            payload = json.loads(row.payload or "null")
            message = {"event": row.event, "meta": meta, "payload": payload, "type": "broadcast"}
            self.send("broadcast", message)
            return
        broadcast = Broadcast(
            self.topic, self.private, row.event, bytes(row.binary), is_json=False, meta=meta
        )
        frame = encode_broadcast(self.version, broadcast)
        if frame is not None:
            self.outbox.put(frame)

    def expel(self, message: str) -> None:
        """Tell why, then close."""
        self.system(message, status="error")
        self.end()

    def end(self) -> None:
        """Close the channel; its socket stays open."""
        self.send("phx_close", {}, ref=self.join_ref)
        self.forget(self)


class Topics:
    """Every joined channel by topic; private and public channels of a name are two topics."""

    def __init__(self, faults: Faults, quotas: Quotas) -> None:
        self._faults = faults
        self._quotas = quotas
        self._channels: dict[tuple[str, bool], set[Channel]] = {}
        self._present: dict[tuple[str, bool], Present] = {}
        self.events = Rate(quotas.tick_s, time.monotonic())
        self.joins = Rate(quotas.tick_s, time.monotonic())

    def add(self, channel: Channel) -> None:
        self._channels.setdefault((channel.topic, channel.private), set()).add(channel)

    def remove(self, channel: Channel) -> None:
        """Take it out and tell the others that its presence ended; harmless when repeated."""
        key = (channel.topic, channel.private)
        joined = self._channels.get(key)
        if joined is not None:
            joined.discard(channel)
            if not joined:
                del self._channels[key]
        self.untrack(channel)

    def all(self) -> Iterator[Channel]:
        for joined in list(self._channels.values()):
            yield from list(joined)

    def restart_rates(self) -> None:
        """Count anew, as the real server does when a limit is changed."""
        for rate in (self.events, self.joins):
            rate.reset(self._quotas.tick_s, time.monotonic())

    def floods(self) -> bool:
        """Whether more is sent than the project may."""
        return self._events_exceed(time.monotonic())

    def broadcast(self, message: Broadcast, sender: Channel | None = None) -> bool:
        """Give ``message`` to everybody who joined its topic; encoded once per version.

        Returns:
            False when there were too many: then sender and receivers were closed.
        """
        now_s = time.monotonic()
        joined = self._channels.get((message.topic, message.private), ())
        self.events.add(now_s)
        if self._events_exceed(now_s):
            for channel in [*joined]:
                channel.expel(TOO_MANY)
            return False
        if self._faults.drop_live:
            return True
        frames: _Frames = {}
        delivered = 0
        for channel in joined:
            if channel is sender and not channel.receives_own:
                continue
            if channel.replayed and message.meta.get("id") in channel.replayed:
                continue
            version = channel.version
            if version not in frames:
                frames[version] = encode_broadcast(version, message)
            frame = frames[version]
            if frame is not None:
                channel.outbox.put(frame)
                delivered += 1
        self.events.add(now_s, delivered)
        return True

    def push(self, channel: Channel, event: str, payload: Any) -> None:
        """Something that a feed gives to one channel."""
        if self._faults.drop_live:
            return
        self.events.add(time.monotonic())
        channel.outbox.put(encode_message(channel.version, PREFIX + channel.topic, event, payload))

    def presence_state(self, channel: Channel) -> dict[str, Any]:
        """Who is present on the channel's topic."""
        present = self._present.get((channel.topic, channel.private))
        return {} if present is None else dict(present.state())

    def track(self, channel: Channel, payload: dict[str, Any], reference: str) -> None:
        """Set the channel's presence and tell everybody."""
        present = self._present.setdefault((channel.topic, channel.private), Present())
        self._tell(channel, present.track(channel, channel.presence_key, payload, reference))

    def untrack(self, channel: Channel) -> None:
        """End the channel's presence and tell everybody."""
        key = (channel.topic, channel.private)
        present = self._present.get(key)
        if present is not None:
            diff = present.untrack(channel)
            if not present.states:
                del self._present[key]
            self._tell(channel, diff)

    def _tell(self, about: Channel, diff: Diff | None) -> None:
        if diff is None or self._faults.drop_live:
            return
        frames: dict[Version, str] = {}
        joined = self._channels.get((about.topic, about.private), ())
        for channel in joined:
            if channel.sees_presence:
                version = channel.version
                if version not in frames:
                    topic = PREFIX + about.topic
                    frames[version] = encode_message(version, topic, "presence_diff", diff)
                channel.outbox.put(frames[version])
        self.events.add(time.monotonic(), 1 + len(joined))

    def _events_exceed(self, now_s: float) -> bool:
        return self.events.exceeds(self._quotas.max_events_per_second, now_s)
