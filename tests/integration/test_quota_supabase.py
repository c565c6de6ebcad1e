"""A plan's quota at the stand-in, which closes channels as Realtime does; the relay stays below."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from crossfade.adapters.memory import MemoryReporter
from crossfade.core.route import REALTIME
from tests.integration.scene import PARTITIONS, Consumer, Scene, wait_for
from tests.services import Project

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase"), pytest.mark.timeout(150)]

LIMIT = 16


async def test_i10_a_stream_that_would_exceed_the_quota_is_packed_below_it(
    tmp_path: Path, fresh_project: Project
) -> None:
    reporter = MemoryReporter()
    relay: dict[str, Any] = {"messages_per_s": LIMIT, "subscribers": 1, "heads_s": 0.5}
    async with (
        Scene(tmp_path, fresh_project, relay=relay) as scene,
        Consumer(scene.subscriber(reporter=reporter)) as consumer,
        httpx.AsyncClient() as http,
    ):
        scene.flags.set(scene.serve(100, version=1))
        await scene.publish(40)
        await wait_for(lambda: consumer.subscriber.flag_version == 1)
        quotas = {"max_events_per_second": LIMIT, "tick_s": 1.0}
        await http.post(f"{fresh_project.url}/_quotas", json=quotas)
        # Far more batches than the quota has frames, each with its own events.
        async with scene.load(batch=3, pause_s=0.002):
            start = len(consumer.events)
            await wait_for(lambda: len(consumer.events) >= start + 250)
        await consumer.all_of(scene.published)
        assert consumer.subscriber.fallen_back == 0
        served = consumer.subscriber.serving()[REALTIME]
        assert sum(map(len, served.values())) == PARTITIONS
        report = consumer.subscriber.continuity()["app"]
        assert report.delivered_by[REALTIME] > 100
        assert report.lost_events == 0
    # Above the quota its channel would have been closed.
    assert sum(one.transports[REALTIME].reconnects for one in reporter.reports) == 0
