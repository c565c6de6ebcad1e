"""The publisher and a Supabase stand-in over PostgreSQL, which is killed in mid-stream."""

import asyncio
import signal
from pathlib import Path

import pytest

from crossfade import Publisher
from crossfade.adapters.journal_reader import JournalReader
from crossfade.adapters.memory import MemoryReporter, StaticFlags
from crossfade.core.breaker import BreakerState
from tests.integration.publishers import Legacy, cohort, make_settings
from tests.integration.raw_client import until
from tests.services import Project

ROWS = "select partition, sequence, id, hash, checksum from crossfade.events"


@pytest.mark.stack
async def test_an_outage_in_mid_stream_leaves_the_table_complete(
    fresh_project: Project, tmp_path: Path
) -> None:
    legacy = Legacy()
    supabase = fresh_project.settings().supabase.model_dump()
    settings = make_settings(tmp_path, supabase=supabase, relay={"batch_events": 50})
    reporter = MemoryReporter()
    async with Publisher(
        settings, legacy=legacy.send, flags=StaticFlags(cohort(100)), reporter=reporter
    ) as publisher:
        published = 0

        async def publish(count: int) -> None:
            nonlocal published
            for _ in range(count):
                published += 1
                await publisher.publish("t", {"n": published}, key=f"key-{published % 7}")

        await publish(300)
        background = asyncio.create_task(publish(300))
        await until(lambda: publisher.owed["supabase"] < 300)
        await asyncio.to_thread(fresh_project.stop, signal.SIGKILL)
        await background
        await publish(100)
        await until(lambda: publisher.breakers["supabase"] is not BreakerState.CLOSED)
        await until(lambda: len(legacy.sent) == 700)
        assert publisher.owed["supabase"] > 0
        await asyncio.to_thread(fresh_project.start)
        await until(lambda: publisher.owed["supabase"] == 0)
        assert publisher.breakers["supabase"] is BreakerState.CLOSED
    rows = await asyncio.to_thread(fresh_project.sql, ROWS)
    with JournalReader(settings.journal.path) as reader:
        journaled = {
            (event.partition, event.sequence, event.id, event.hash)
            for one in reader.streams()
            for event in reader.read(one.stream, 1, one.head)
        }
    assert {row[:4] for row in rows} == journaled
    assert len(rows) == len(journaled) == 700
    assert all(computed == carried for *_, computed, carried in rows)
    assert reporter.reports[-1].totals == {"published": 700, "conflicts": 0, "parked": 0}
