"""The event store against the stand-in: how its failures look, and that no key shows in them."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from crossfade.adapters.migrations import find_migrations
from crossfade.adapters.supabase import SupabaseEventStore
from crossfade.core.event import Stream
from crossfade.errors import (
    Closed,
    StoreRejected,
    StoreUnavailable,
    StoreUnreachable,
    UsageError,
)
from tests.contract.events import make_event, make_events
from tests.services import Project

STREAM = Stream("nobody", 1, "critical", 0)


@pytest.fixture
async def store(project: Project) -> AsyncIterator[SupabaseEventStore]:
    async with SupabaseEventStore(project.url, project.service_role_key, timeout_s=5) as opened:
        yield opened


@contextmanager
def faulty(project: Project, **faults: object) -> Iterator[None]:
    project.fault(**faults)
    try:
        yield
    finally:
        project.fault(refuse=False, hang=False, slow_ms=0)


def source() -> str:
    return f"store-{uuid.uuid4().hex[:12]}"


async def test_health(store: SupabaseEventStore) -> None:
    health = await store.health()
    assert health.migration == find_migrations()[-1].version
    assert health.partition_today
    assert health.events >= 0


async def test_a_batch_that_can_never_be_stored_is_rejected(store: SupabaseEventStore) -> None:
    name = source()
    bad = make_event(2, source=name)._replace(partition=-1)
    with pytest.raises(StoreRejected, match="23514"):
        await store.ingest([make_event(1, source=name), bad])
    assert (await store.fill(Stream(name, 1, "critical", 0), 1, 2)).events == []
    with pytest.raises(StoreRejected, match="at most 5000 events"):
        await store.ingest([make_event(1, source=name)] * 5_001)


async def test_a_refusing_gateway_is_unavailable_until_it_is_back(
    project: Project, store: SupabaseEventStore
) -> None:
    with faulty(project, refuse=True):
        with pytest.raises(StoreUnavailable, match=r"503.*not JSON") as raised:
            await store.ingest([make_event(1, source=source())])
        assert not isinstance(raised.value, StoreUnreachable)
    assert (await store.ingest([make_event(1, source=source())])).inserted == 1


async def test_no_answer_in_time_is_unreachable(project: Project) -> None:
    async with SupabaseEventStore(project.url, project.service_role_key, timeout_s=0.3) as store:
        with faulty(project, hang=True):
            began = time.monotonic()
            with pytest.raises(StoreUnreachable, match=r"no answer in 0\.3 s"):
                await store.fill(STREAM, 1, 1)
            assert time.monotonic() - began < 5
        await store.fill(STREAM, 1, 1)


async def test_slow_is_slow_only(project: Project, store: SupabaseEventStore) -> None:
    with faulty(project, slow_ms=200):
        began = time.monotonic()
        await store.fill(STREAM, 1, 1)
        assert time.monotonic() - began >= 0.2


async def test_a_dead_server_is_unreachable_and_a_new_one_is_found(fresh_project: Project) -> None:
    name = source()
    async with SupabaseEventStore(fresh_project.url, fresh_project.service_role_key) as store:
        await store.ingest([make_event(1, source=name)])
        fresh_project.stop()
        for _ in range(2):
            with pytest.raises(StoreUnreachable):
                await store.ingest([make_event(2, source=name)])
        await asyncio.to_thread(fresh_project.start)
        assert (await store.ingest(make_events(1, 2, source=name))).inserted == 1


async def test_the_database_going_away_is_unavailable(fresh_project: Project) -> None:
    """Connections that the server has cut are replaced without an error to the caller."""
    async with SupabaseEventStore(fresh_project.url, fresh_project.service_role_key) as store:
        await store.fill(STREAM, 1, 1)
        fresh_project.sql(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and application_name = 'crossfade stand-in'"
        )
        await store.fill(STREAM, 1, 1)


async def test_a_wrong_key_is_no_fault_of_the_batch(project: Project) -> None:
    wrong = project.anon_key[:-6] + "xxxxxx"
    async with SupabaseEventStore(project.url, wrong) as store:
        with pytest.raises(StoreUnavailable, match=r"401.*Invalid API key") as raised:
            await store.ingest([make_event(1, source=source())])
    assert wrong not in str(raised.value)


@pytest.mark.parametrize("role", ["anon", "authenticated"])
async def test_only_the_server_key_ingests(project: Project, role: str) -> None:
    token = project.token("authenticated") if role == "authenticated" else ""
    async with SupabaseEventStore(project.url, project.anon_key, access_token=token) as store:
        with pytest.raises(StoreUnavailable, match="42501 permission denied") as raised:
            await store.ingest([make_event(1, source=source())])
        assert (token or project.anon_key) not in str(raised.value)
        if role == "anon":
            with pytest.raises(StoreUnavailable, match="42501"):
                await store.fill(STREAM, 1, 1)
        else:
            assert (await store.fill(STREAM, 1, 1)).head is None


async def test_a_fresh_token_replaces_an_expired_one(project: Project) -> None:
    expired = project.token(lifetime_s=-10)
    async with SupabaseEventStore(project.url, project.anon_key, access_token=expired) as store:
        with pytest.raises(StoreUnavailable, match="PGRST303 JWT expired"):
            await store.fill(STREAM, 1, 1)
        await store.set_access_token(project.token())
        assert (await store.fill(STREAM, 1, 1)).head is None


async def test_missing_migrations_are_said(fresh_project: Project) -> None:
    fresh_project.sql("drop function public.crossfade_health_v1()")
    async with SupabaseEventStore(fresh_project.url, fresh_project.service_role_key) as store:
        with pytest.raises(StoreUnavailable, match=r"PGRST202.*crossfade_health_v1"):
            await store.health()


async def test_calls_run_side_by_side(store: SupabaseEventStore) -> None:
    name = source()
    batches = [make_events(1, 50, source=name, partition=number) for number in range(8)]
    results = await asyncio.gather(*(store.ingest(batch) for batch in batches))
    assert [result.inserted for result in results] == [50] * 8


async def test_closed_is_closed(project: Project) -> None:
    store = SupabaseEventStore(project.url, project.service_role_key)
    await store.close()
    with pytest.raises(Closed):
        await store.fill(STREAM, 1, 1)


@pytest.mark.parametrize(("url", "key"), [("ftp://x", "k"), ("", "k"), ("http://x", "")])
def test_what_is_missing_is_said_at_once(url: str, key: str) -> None:
    with pytest.raises(UsageError, match="supabase"):
        SupabaseEventStore(url, key)
