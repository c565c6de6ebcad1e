"""A relay under a quota, and after an outage: bounds that hold at any speed of the machine."""

import asyncio
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from crossfade.adapters.memory import MemoryEventStore
from crossfade.core.event import Event, Head
from crossfade.errors import SettingsError
from crossfade.ports import IngestResult
from crossfade.relay import Relay
from crossfade.relay_pace import Pace, quota_of
from crossfade.settings import RelaySettings
from tests.integration.test_relay import FAST, POLICY
from tests.unit.adapters.journals import draft, journal


class Metered:
    """A store that counts as Realtime does, and remembers when."""

    def __init__(self, subscribers: int, frame_limit: int) -> None:
        self.memory = MemoryEventStore()
        self.costs: list[tuple[float, int]] = []
        self.batches: list[tuple[float, int]] = []
        self._each = subscribers + 1
        self._limit = frame_limit

    async def ingest(self, events: Sequence[Event]) -> IngestResult:
        result = await self.memory.ingest(events)
        size = sum(400 + len(event.data) for event in events)
        topics = len({event.topic for event in events})
        frames = topics + size // self._limit
        now = time.monotonic()
        self.costs.append((now, frames * self._each))
        self.batches.append((now, len(events)))
        return result._replace(frames=frames)

    async def heads(self, heads: Sequence[Head]) -> None:
        topics = len({head.stream.topic for head in heads})
        self.costs.append((time.monotonic(), topics * self._each))


def make(book: Any, store: Metered, **values: Any) -> Relay:
    settings = RelaySettings(**{**FAST, "heads_s": 0.2, **values})
    now_ms = time.monotonic_ns() // 1_000_000
    return Relay(
        book,
        "supabase",
        store.ingest,
        settings=settings,
        policy=POLICY,
        heads=store.heads,
        pace=Pace(settings, quota_of(settings, 2), now_ms),
    )


async def test_i10_a_quota_is_kept_by_packing_more(tmp_path: Path) -> None:
    rate, subscribers = 200.0, 4
    store = Metered(subscribers, 5_000)
    async with journal(tmp_path, durability="os") as book:
        relay = make(
            book, store, messages_per_s=rate, quota_share=1.0, subscribers=subscribers,
            frame_limit_bytes=5_000,
        )  # fmt: skip
        relay.start()
        try:
            sent = []
            for number in range(1, 301):
                sent += await book.append([draft(number), draft(number, topic="system")])
                await asyncio.sleep(0.005)
            async with asyncio.timeout(30):
                await relay.drained()
        finally:
            await relay.close()
    assert [one for one in store.memory.sent if one.topic == "system"] == sent[1::2]
    assert len(store.memory.sent) == 600
    for index, (start, _) in enumerate(store.costs):
        total = 0
        for at, cost in store.costs[index:]:
            total += cost
            # Burst, rate, and what may go into debt: heads, and a frame more than thought.
            assert total <= rate * 0.2 + rate * (at - start) + 3 * 2 * (subscribers + 1)
    # Without waiting there would be about one batch for each of the 300 steps.
    assert len(store.batches) < 150


async def test_what_an_outage_kept_drains_at_its_rate_and_in_order(tmp_path: Path) -> None:
    rate, batch = 2_000.0, 100
    store = Metered(0, 100_000)
    async with journal(tmp_path, durability="os") as book:
        for start in range(1, 2_001, 500):
            await book.append([draft(n) for n in range(start, start + 500)])
        relay = make(book, store, catch_up_events_per_s=rate, batch_events=batch)
        began = time.monotonic()
        relay.start()
        live = 0
        try:
            while relay.owed > 20:
                live += 10
                await book.append([draft(n, partition=1) for n in range(live - 9, live + 1)])
                await asyncio.sleep(0.01)
        finally:
            await relay.close()
    sequences = [event.sequence for event in store.memory.sent if event.partition == 0]
    assert sequences == list(range(1, 2_001))
    sent = 0
    for at, size in store.batches:
        sent += size
        # The relay's clock counts whole milliseconds: two of them are the test's rounding.
        assert sent <= batch * 2 + rate * (at - began + 0.002) + live
    assert store.batches[-1][0] - began >= (2_000 - live - 2 * batch) / rate


def test_a_plan_gives_the_quota_and_refuses_frames_that_it_does_not_take(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert quota_of(RelaySettings(), 5) is None
    pro = quota_of(RelaySettings(plan="pro", subscribers=9), 5)
    assert pro is not None
    assert (pro.messages_per_s, pro.subscribers) == (400.0, 9)
    own = quota_of(RelaySettings(plan="pro", messages_per_s=1_000), 5)
    assert own is not None
    assert own.messages_per_s == 800.0
    with pytest.raises(SettingsError, match=r"relay\.frame_limit_bytes: 300000 is more than .* fr"):
        quota_of(RelaySettings(plan="free", frame_limit_bytes=300_000), 5)
    with pytest.raises(SettingsError, match=r"relay\.plan: plan 'gold': must be one of free, pro"):
        quota_of(RelaySettings(plan="gold"), 5)
    with caplog.at_level(logging.WARNING):
        quota_of(RelaySettings(plan="free", subscribers=50), 5)
    assert "heads of 5 topics for 50 subscribers cost 255 messages/s" in caplog.text
