"""Pruning under a real publisher, hub, subscriber and tap: what everybody else makes of it."""

import asyncio
from pathlib import Path

from crossfade.adapters.journal_reader import JournalReader
from crossfade.core.continuity import Lost
from crossfade.core.verdict import Verdict
from crossfade.reconcile import reconcile
from crossfade.tap import Tap
from tests.integration.raw_client import RawClient
from tests.integration.scene import Consumer, Scene

KEPT = {"retention_events": 10, "prune_s": 0.05}


async def test_i2_only_what_the_journal_let_go_is_lost_and_exactly_that(tmp_path: Path) -> None:
    told: list[Lost] = []
    async with Scene(tmp_path, journal=KEPT, websocket={"history_events": 4}) as scene:
        await scene.publish(200)
        heads = {event.stream: event.sequence for event in scene.published}
        floors = {stream: head - 9 for stream, head in heads.items()}
        async with RawClient(scene.hub.url) as client:
            await client.subscribe()

            async def announced() -> dict[tuple[object, ...], int]:
                return {tuple(row[:4]): row[5] for row in (await client.next("heads"))["heads"]}

            # Pruning raises the floor of a hub that has known the streams for long.
            async with asyncio.timeout(20):
                while await announced() != {tuple(one): low for one, low in floors.items()}:
                    pass
        behind = scene.subscriber(positions=dict.fromkeys(heads, 1), on_lost=told.append)
        async with Consumer(behind) as consumer:
            kept = [one for one in scene.published if one.sequence >= floors[one.stream]]
            await consumer.all_of(kept)
    assert sorted(told) == sorted(
        Lost(stream, 1, low - 1, "retention") for stream, low in floors.items()
    )


async def test_a_reconciliation_agrees_while_events_are_pruned(tmp_path: Path) -> None:
    quick = {
        "state": tmp_path / "seals.db",
        "block": 16,
        "grace_s": 0.2,
        "recheck_s": 0.1,
        "rechecks": 1,
    }
    async with (
        Scene(tmp_path, journal={**KEPT, "retention_events": 200}, reconcile=quick) as scene,
        Tap(scene.settings),
    ):
        async with scene.load(batch=20, pause_s=0.01):
            await asyncio.sleep(1.5)
            results = [
                await asyncio.to_thread(reconcile, scene.settings, stores=("websocket",))
                for _ in range(4)
            ]
        with JournalReader(scene.settings.journal.path) as reader:
            pruned = sum(one.floor - 1 for one in reader.streams())
    assert pruned > 100
    for result in results:
        assert result.errors == {}
        assert [one.kind for one in result.discrepancies] == []
        assert result.verdict is Verdict.PASS
        assert result.checked_events > 0
