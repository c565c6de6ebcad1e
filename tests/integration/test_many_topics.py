"""More topics than one connection may join, with the stand-in's own limit of a hundred."""

import pytest

from crossfade.adapters.realtime import RealtimeTransport
from crossfade.adapters.realtime_pool import RealtimePool
from crossfade.adapters.supabase import SupabaseEventStore
from crossfade.core.event import Head
from tests.contract.events import make_event
from tests.services import Project
from tests.unit.adapters.listening import Notes, wait_for

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase")]

TOPICS = [f"many-{number:03}" for number in range(105)]


async def test_a_reader_hears_every_one_of_a_hundred_and_five_topics(project: Project) -> None:
    notes = Notes()
    settings = project.settings()
    async with (
        SupabaseEventStore.for_publisher(settings) as store,
        RealtimePool(settings.supabase, notes, RealtimeTransport) as realtime,
    ):
        realtime.want(TOPICS)
        await wait_for(lambda: realtime.joined == set(TOPICS), 30.0)
        events = [make_event(1, topic=topic, source="many") for topic in TOPICS]
        await store.ingest(events)
        await store.heads([Head(event.stream, 1, 1) for event in events])
        await wait_for(lambda: len(notes.seen) == len(TOPICS))
        await wait_for(lambda: len(notes.heads_seen) == len(TOPICS))
        assert {event.topic for event in notes.seen} == set(TOPICS)
        assert realtime.connections == 2
        assert not notes.reasons("failed")
