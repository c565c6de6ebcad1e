"""The relay between a real journal and a store in memory that fails in every named way."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from crossfade.adapters.journal_reader import JournalReader
from crossfade.adapters.journal_sqlite import Journal
from crossfade.adapters.memory import MemoryEventStore
from crossfade.core.breaker import BreakerPolicy, BreakerState, StateChange
from crossfade.core.event import Event, Head, Stream
from crossfade.relay import Relay
from crossfade.settings import RelaySettings
from crossfade.testing import DroppingStore, FaultyStore
from tests.integration.raw_client import until
from tests.unit.adapters.journals import draft, everything, journal

POLICY = BreakerPolicy(open_ms=50, open_max_ms=200, half_open_ms=2_000, slow_call_ms=60_000)
FAST = {
    "timeout_s": 0.5,
    "heads_s": 0.05,
    "retry_initial_s": 0.001,
    "retry_max_s": 0.01,
}


class Bench:
    def __init__(self, book: Journal, **settings: Any) -> None:
        self.book = book
        self.memory = MemoryEventStore()
        self.store = FaultyStore(self.memory)
        self.changes: list[StateChange] = []
        self.relay = Relay(
            book,
            "supabase",
            self.store.ingest,
            settings=RelaySettings(**{**FAST, **settings}),
            policy=POLICY,
            heads=self.store.heads,
            on_change=self.changes.append,
        )

    async def publish(self, first: int, last: int, **more: Any) -> list[Event]:
        return await self.book.append([draft(n, **more) for n in range(first, last + 1)])

    async def drained(self) -> None:
        async with asyncio.timeout(20):
            await self.relay.drained()

    @property
    def states(self) -> list[str]:
        return [change.after.value for change in self.changes]


@asynccontextmanager
async def bench(
    folder: Path, supabase: Callable[[str, int], bool] = everything, **settings: Any
) -> AsyncIterator[Bench]:
    async with journal(folder, durability="os", supabase=supabase) as book:
        it = Bench(book, **settings)
        try:
            yield it
        finally:
            await it.relay.close()


def stream(partition: int = 0) -> Stream:
    return Stream("app", 1, "critical", partition)


async def test_everything_owed_arrives_once_in_order_and_in_batches(tmp_path: Path) -> None:
    async with bench(tmp_path, batch_events=40) as it:
        sent = []
        for partition in range(3):
            sent += await it.publish(1, 100, partition=partition)
        it.relay.start()
        await it.drained()
        # Across partitions the order is that of the commits.
        assert it.memory.sent == sent
        assert all(size <= 40 for size in it.store.ingests)
        assert len(it.store.ingests) == 8
        assert it.store.most_under_way == 1


async def test_a_batch_is_cut_by_weight_too(tmp_path: Path) -> None:
    async with bench(tmp_path, batch_bytes=100_000) as it:
        await it.publish(1, 10, data='"' + "x" * 40_000 + '"')
        it.relay.start()
        await it.drained()
        assert it.store.ingests == [2] * 5


async def test_order_of_commit_holds_over_partitions_of_very_different_weight(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path, batch_events=10) as it:
        sent: list[Event] = []
        for turn in range(30):
            sent += await it.publish(turn * 7 + 1, turn * 7 + 7)
            if turn % 3 == 0:
                sent += await it.publish(turn + 1, turn + 1, partition=turn % 5 + 1)
        it.relay.start()
        await it.drained()
        assert it.memory.sent == sent


async def test_only_the_cohort_is_relayed_from_the_sequence_it_entered_at(tmp_path: Path) -> None:
    cohort: set[int] = set()
    async with bench(tmp_path, lambda _, partition: partition in cohort) as it:
        it.relay.start()
        await it.publish(1, 5)
        cohort.add(0)
        await it.publish(6, 8)
        await it.publish(1, 3, partition=1)
        await it.drained()
        cohort.clear()
        await it.publish(9, 9)
        await it.drained()
        assert [event.sequence for event in it.memory.sent] == [6, 7, 8]
        # The heads are of what was ingested; the floor is where the table begins. An earlier
        # heads frame may have told less.
        await until(lambda: it.memory.known_heads == {stream(): Head(stream(), 8, 6)})


async def test_heads_come_without_events_too_and_never_run_ahead(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        await it.publish(1, 3)
        it.relay.start()
        await it.drained()
        await until(lambda: it.memory.heads_calls >= 3)
        assert it.memory.known_heads[stream()].sequence == 3
        it.store.poison = lambda _: True
        it.store.down = True
        await it.publish(4, 9)
        await asyncio.sleep(0.1)
        assert it.memory.known_heads[stream()].sequence == 3


async def test_an_outage_is_a_longer_queue_and_only_the_probe_calls(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.relay.start()
        await it.publish(1, 10)
        await it.drained()
        it.store.down = True
        await it.publish(11, 20)
        await until(lambda: it.relay.breaker is BreakerState.OPEN)
        calls, changes = it.store.calls, len(it.changes)
        await it.publish(21, 400)
        await asyncio.sleep(0.4)
        openings = [one for one in it.changes[changes:] if one.after is BreakerState.HALF_OPEN]
        assert 1 <= it.store.calls - calls <= len(openings)
        assert it.relay.owed == 390
        window = it.relay.window()
        assert (window.owed, window.breaker) == (390, it.relay.breaker)
        assert window.oldest_owed_ms > 100
        assert window.connect_failures >= 3
        assert "connection refused" in window.last_error
        it.store.down = False
        await it.drained()
        assert [event.sequence for event in it.memory.sent] == list(range(1, 401))
        assert it.states[:2] == ["open", "half_open"]
        assert it.states[-1] == "closed"


async def test_a_breaker_that_opened_closes_without_anything_owed(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.relay.start()
        await it.publish(1, 1)
        await it.drained()
        it.store.down = True
        await until(lambda: it.relay.breaker is BreakerState.OPEN)
        it.store.down = False
        await until(lambda: it.relay.breaker is BreakerState.CLOSED)


async def test_a_lost_answer_is_repeated_and_doubles_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path, batch_events=5) as it:
        await it.publish(1, 20)
        it.store.lost_answers = 2
        it.relay.start()
        await it.drained()
        assert [event.sequence for event in it.memory.sent] == list(range(1, 21))
        assert len(it.store.ingests) == 6


async def test_a_hung_call_is_given_up_and_repeated(tmp_path: Path) -> None:
    async with bench(tmp_path, timeout_s=0.1) as it:
        await it.publish(1, 5)
        it.store.hang = True
        it.relay.start()
        await until(lambda: it.relay.window().connect_failures > 0)
        assert it.relay.last_error == "no answer in 0.1 s"
        it.store.hang = False
        await it.drained()
        assert len(it.memory.sent) == 5


async def test_a_poison_event_is_found_parked_and_stepped_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(tmp_path) as it:
        await it.publish(1, 100)
        await it.publish(1, 20, partition=1)
        it.store.poison = lambda event: (
            event.position[2:]
            in {
                ("critical", 0, 37),
                ("critical", 0, 38),
                ("critical", 1, 20),
            }
        )
        with caplog.at_level(logging.ERROR):
            it.relay.start()
            await it.drained()
        assert len(it.memory.events) == 117
        numbers = [event.sequence for event in it.memory.sent if event.partition == 0]
        assert numbers == [n for n in range(1, 101) if n not in {37, 38}]
        assert it.book.parked("supabase") == 3
        assert "parked app/1/critical/0/37" in caplog.text
        assert it.relay.breaker is BreakerState.CLOSED
        await it.book.flush()
        with JournalReader(it.book.path) as reader:
            parked = reader.parked()
        assert [one.position[3:] for one in parked] == [(0, 37), (0, 38), (1, 20)]
        assert all("violates" in one.reason for one in parked)


async def test_a_single_poison_event_is_parked_only_once_the_store_is_known_to_work(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path, heads_s=60) as it:
        it.store.poison = lambda _: True
        it.relay.start()
        await it.publish(1, 1)
        await it.drained()
        assert it.book.parked("supabase") == 1
        assert it.memory.heads_calls >= 1


async def test_a_store_that_refuses_everything_parks_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.store.poison = lambda _: True
        original = it.store.heads

        async def refuse(heads: Any) -> None:
            it.store.failures = 1
            await original(heads)

        it.relay._heads = refuse
        await it.publish(1, 8)
        it.relay.start()
        await until(lambda: it.store.calls > 20)
        assert it.book.parked("supabase") == 0
        assert it.relay.owed == 8
        it.relay._heads = original
        it.store.poison = lambda event: event.sequence == 3
        await it.drained()
        assert it.book.parked("supabase") == 1


async def test_a_conflict_is_told_and_does_not_stop_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(tmp_path) as it:
        events = await it.publish(1, 5)
        await it.memory.ingest([events[2]._replace(id="foreign", data='{"n":"foreign"}')])
        it.memory.sent.clear()
        it.relay.start()
        await it.drained()
        assert [event.sequence for event in it.memory.sent] == [1, 2, 4, 5]
        assert it.relay.conflicts == 1
        assert "conflict: app/1/critical/0/3" in caplog.text


async def test_a_relay_that_starts_again_sends_only_what_is_owed(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.relay.start()
        await it.publish(1, 50)
        await it.drained()
    async with bench(tmp_path) as it:
        await it.publish(51, 60)
        it.relay.start()
        await it.drained()
        assert [event.sequence for event in it.memory.sent] == list(range(51, 61))


async def test_an_adapter_that_breaks_does_not_end_the_relay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(tmp_path) as it:
        original, broken = it.store.ingest, 2

        async def deliver(events: Any) -> Any:
            nonlocal broken
            if broken:
                broken -= 1
                raise ZeroDivisionError("a bug in the adapter")
            return await original(events)

        it.relay._deliver = deliver
        await it.publish(1, 3)
        it.relay.start()
        await it.drained()
        assert len(it.memory.sent) == 3
        assert "a bug in the adapter" in caplog.text


async def test_by_hand_the_breaker_stops_and_starts_the_relay(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.relay.start()
        it.relay.set_mode(BreakerState.FORCED_OPEN, "drill")
        await it.publish(1, 3)
        await asyncio.sleep(0.1)
        assert (it.relay.owed, it.store.ingests) == (3, [])
        it.relay.set_mode(BreakerState.CLOSED, "drill over")
        await it.drained()
        assert it.states == ["forced_open", "closed"]


async def test_a_hint_lets_the_probe_through_at_once(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.relay._breaker = it.relay._breaker.__class__(
            policy=BreakerPolicy(open_ms=600_000, open_max_ms=600_000)
        )
        it.store.down = True
        await it.publish(1, 3)
        it.relay.start()
        await until(lambda: it.relay.breaker is BreakerState.OPEN)
        it.store.down = False
        it.relay.hint()
        await it.drained()


async def test_a_report_that_was_not_delivered_is_counted_into_the_next(tmp_path: Path) -> None:
    async with bench(tmp_path, heads_s=60) as it:
        it.relay.start()
        await it.publish(1, 3)
        await it.drained()
        first = it.relay.window()
        assert (first.events, first.latency_ms.n) == (3, first.calls)
        assert it.relay.window().events == 0
        it.relay.put_back(first)
        await it.publish(4, 5)
        await it.drained()
        second = it.relay.window()
        assert (second.events, second.latency_ms.n) == (5, second.calls)
        assert second.calls > first.calls


async def test_a_dropped_event_is_claimed_and_missing(tmp_path: Path) -> None:
    """The sabotage that the demo's checker must find: here nothing notices, by design."""
    async with bench(tmp_path) as it:
        dropping = DroppingStore(it.memory, lambda event: event.sequence == 2)
        it.relay._deliver = dropping.ingest
        await it.publish(1, 3)
        it.relay.start()
        await it.drained()
        assert [event.sequence for event in it.memory.sent] == [1, 3]
        assert [event.sequence for event in dropping.dropped] == [2]
        assert it.relay.owed == 0
