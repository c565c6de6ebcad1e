"""An operator's breaker modes, as the flags bring them to a publisher."""

from dataclasses import replace
from pathlib import Path

from crossfade.adapters.memory import MemoryEventStore, StaticFlags
from crossfade.core.breaker import BreakerState
from crossfade.publisher import Publisher
from tests.integration.publishers import Legacy, cohort, make_settings
from tests.integration.scene import wait_for


async def test_a_mode_is_in_force_with_its_flags_and_ends_with_them(tmp_path: Path) -> None:
    store, legacy = MemoryEventStore(), Legacy()
    forced = replace(cohort(100), breakers={"supabase": "forced_open", "nowhere": "disabled"})
    flags = StaticFlags(forced)
    async with Publisher(
        make_settings(tmp_path, publisher={"drain_s": 0}),
        legacy=legacy.send,
        store=store,
        flags=flags,
    ) as publisher:
        # From the first event on, not only once something changes.
        await publisher.publish("t", {})
        await wait_for(lambda: publisher.owed["application"] == 0)
        assert publisher.breakers["supabase"] is BreakerState.FORCED_OPEN
        assert publisher.owed["supabase"] == 1
        assert store.events == {}
        publisher.set_breaker("application", BreakerState.METRICS_ONLY, "by the application")

        flags.set(replace(cohort(100), version=2, breakers={"supabase": "disabled"}))
        await wait_for(lambda: len(store.events) == 1)
        assert publisher.breakers["supabase"] is BreakerState.DISABLED

        flags.set(replace(cohort(100), version=3, breakers={"supabase": "half_open"}))
        flags.set(replace(cohort(100), version=4))
        await wait_for(lambda: publisher.breakers["supabase"] is BreakerState.CLOSED)
        # What the application set by itself is the application's.
        assert publisher.breakers["application"] is BreakerState.METRICS_ONLY
