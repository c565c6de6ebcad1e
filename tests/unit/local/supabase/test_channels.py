"""The fan-out of broadcasts."""

import json
from typing import Any

from crossfade.local.supabase.channels import Channel, Topics
from crossfade.local.supabase.faults import Faults
from crossfade.local.supabase.gateway import Identity
from crossfade.local.supabase.outbox import Outbox
from crossfade.local.supabase.quotas import Quotas
from crossfade.local.supabase.wire import Broadcast, Version


def channel_of(topics: Topics, *, version: Version = "1.0.0", **options: Any) -> Channel:
    identity = Identity("anon", {})
    channel = Channel("t", False, "1", version, Outbox(), identity, topics.remove, **options)
    topics.add(channel)
    return channel


async def frames(channel: Channel) -> list[str | bytes]:
    channel.outbox.close()
    found = []
    while (frame := await channel.outbox.take()) is not None:
        found.append(frame)
    return found


def row(key: str) -> Broadcast:
    return Broadcast("t", False, "e", b'{"n":1}', True, {"id": key})


async def test_a_frame_is_encoded_once_for_all_of_a_version() -> None:
    topics = Topics(Faults(), Quotas())
    first, second = channel_of(topics), channel_of(topics)
    other = channel_of(topics, version="2.0.0")
    assert topics.broadcast(row("a"))
    (one,), (two,), (three,) = await frames(first), await frames(second), await frames(other)
    assert one is two
    assert json.loads(one)["payload"]["payload"] == {"n": 1}
    assert isinstance(three, bytes)


async def test_a_replayed_row_does_not_come_again() -> None:
    topics = Topics(Faults(), Quotas())
    channel = channel_of(topics, replayed=frozenset({"a"}))
    topics.broadcast(row("a"))
    topics.broadcast(row("b"))
    (frame,) = await frames(channel)
    assert json.loads(frame)["payload"]["meta"] == {"id": "b"}


async def test_the_sender_gets_its_own_only_when_asked_for() -> None:
    topics = Topics(Faults(), Quotas())
    silent, loud = channel_of(topics), channel_of(topics, receives_own=True)
    topics.broadcast(row("a"), silent)
    topics.broadcast(row("b"), loud)
    assert (len(await frames(silent)), len(await frames(loud))) == (1, 2)


async def test_nobody_hears_of_a_channel_that_is_gone() -> None:
    topics = Topics(Faults(), Quotas())
    one = channel_of(topics, presence_key="one", sees_presence=True)
    two = channel_of(topics, presence_key="two", sees_presence=True)
    topics.track(two, {"n": 2}, "r")
    topics.remove(two)
    topics.broadcast(row("a"))
    assert [json.loads(frame)["event"] for frame in await frames(one)] == [
        "presence_diff",
        "presence_diff",
        "broadcast",
    ]
    assert len(await frames(two)) == 1
    assert topics.presence_state(one) == {}
