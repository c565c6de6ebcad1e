"""One suite for everything that implements ``ports.EventStore``.

It runs on the in-memory store, on the Supabase stand-in, and on a real project when the
environment names one (see ``target``).
"""

import uuid
from collections.abc import AsyncIterator

import pytest

from crossfade.adapters.supabase import SupabaseEventStore
from crossfade.core.event import Head, Stream
from crossfade.ports import EventStore
from tests.contract.events import make_event, make_events
from tests.contract.target import REAL

STORES = ["memory", "stand-in", *(["project"] if REAL is not None else [])]


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[EventStore]:
    if request.param == "memory":
        from crossfade.adapters.memory import MemoryEventStore

        yield MemoryEventStore()
    elif request.param == "project":
        assert REAL is not None
        async with SupabaseEventStore(REAL.url, REAL.service_role_key) as real:
            yield real
    else:
        project = request.getfixturevalue("project")
        async with SupabaseEventStore(project.url, project.service_role_key) as stand_in:
            yield stand_in


@pytest.fixture
def source() -> str:
    return f"contract-{uuid.uuid4().hex[:12]}"


async def test_ingested_events_are_filled_as_they_were(store: EventStore, source: str) -> None:
    events = [
        make_event(1, source=source),
        make_event(2, source=source, data='{"a":"\\u0000 \\" \\\\ ü 𝄞","b":123456789012345678901}'),
        make_event(3, source=source, subject="", time_us=-5_000_000),
    ]
    result = await store.ingest(events)
    assert (result.inserted, result.skipped, result.conflicts) == (3, 0, ())
    page = await store.fill(events[0].stream, 1, 3)
    assert page.events == events
    assert (page.floor, page.head) == (1, 3)


async def test_repeating_is_harmless(store: EventStore, source: str) -> None:
    events = make_events(1, 5, source=source)
    await store.ingest(events)
    result = await store.ingest([*events, make_event(6, source=source)])
    assert (result.inserted, result.skipped, result.conflicts) == (1, 5, ())
    assert (await store.fill(events[0].stream, 1, 9)).head == 6


async def test_same_position_with_another_content_is_a_conflict(
    store: EventStore, source: str
) -> None:
    kept = make_event(1, source=source)
    offered = make_event(1, source=source, data='{"other":true}')
    await store.ingest([kept])
    result = await store.ingest([offered, make_event(2, source=source)])
    assert result.inserted == 1
    assert [(c.position, c.stored, c.offered) for c in result.conflicts] == [
        (kept.position, kept.hash, offered.hash)
    ]
    assert (await store.fill(kept.stream, 1, 1)).events == [kept]


async def test_same_id_elsewhere_is_a_conflict(store: EventStore, source: str) -> None:
    kept = make_event(1, source=source)
    offered = make_event(2, source=source, id=kept.id)
    await store.ingest([kept])
    result = await store.ingest([offered])
    assert (result.inserted, result.skipped) == (0, 0)
    assert [(c.position, c.stored, c.offered) for c in result.conflicts] == [
        (offered.position, kept.hash, offered.hash)
    ]


async def test_an_empty_batch_is_nothing(store: EventStore) -> None:
    result = await store.ingest([])
    assert (result.inserted, result.skipped, result.conflicts, result.frames) == (0, 0, (), 0)


async def test_not_live_sends_nothing(store: EventStore, source: str) -> None:
    assert (await store.ingest([make_event(1, source=source)], live=False)).frames == 0


async def test_live_packs_many_events_in_few_frames(store: EventStore, source: str) -> None:
    result = await store.ingest(make_events(1, 100, source=source))
    assert 1 <= result.frames <= 5, result


async def test_pages_are_in_order_and_end_at_the_head(store: EventStore, source: str) -> None:
    events = make_events(3, 900, source=source)
    await store.ingest(events, live=False)
    found, first = [], 1
    while True:
        page = await store.fill(events[0].stream, first, 10_000)
        assert (page.floor, page.head) == (3, 900)
        if not page.events:
            break
        found.extend(page.events)
        first = page.events[-1].sequence + 1
    assert found == events


async def test_a_stream_that_is_not_held(store: EventStore, source: str) -> None:
    page = await store.fill(Stream(source, 1, "critical", 7), 1, 10)
    assert page == ([], None, None)


async def test_heads_are_taken(store: EventStore, source: str) -> None:
    event = make_event(1, source=source)
    await store.ingest([event])
    await store.heads([Head(event.stream, 1), Head(event.stream, 1, 1)])
    await store.heads([])


async def test_it_has_a_name(store: EventStore) -> None:
    assert store.name == "supabase"
