"""The publisher with a real journal and relays; the sinks in memory."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import crossfade
from crossfade import Publisher
from crossfade.adapters.journal_reader import JournalReader
from crossfade.adapters.memory import MemoryEventStore, MemoryReporter, StaticFlags
from crossfade.core.breaker import BreakerState
from crossfade.core.event import content_hash
from crossfade.core.telemetry import Report, Role
from crossfade.errors import (
    Closed,
    ControlUnavailable,
    InvalidEvent,
    JournalLocked,
    SettingsError,
)
from crossfade.testing import FaultyStore
from tests.integration.publishers import Legacy, cohort, make_settings
from tests.integration.raw_client import until


class Stage:
    def __init__(self, folder: Path, percent: float = 100, **sections: dict[str, Any]) -> None:
        self.settings = make_settings(folder, **sections)
        self.legacy = Legacy()
        self.memory = MemoryEventStore()
        self.store = FaultyStore(self.memory)
        self.flags = StaticFlags(cohort(percent))
        self.reporter = MemoryReporter()

    def publisher(self, **more: Any) -> Publisher:
        given = {
            "legacy": self.legacy.send,
            "store": self.store,
            "flags": self.flags,
            "reporter": self.reporter,
            "instance": "p1",
        }
        return Publisher(self.settings, **{**given, **more})


async def test_an_event_reaches_both_sides_from_one_journal(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with stage.publisher() as publisher:
        event = await publisher.publish("flight.left", {"to": "ORD"}, key="N711MQ")
        assert (event.sequence, event.epoch, event.source) == (1, 1, "app")
        assert event.payload == {"to": "ORD"}
        assert event.hash == content_hash(event)
        with JournalReader(stage.settings.journal.path) as reader:
            assert reader.event(event.id) == event, "durable before publish() returns"
    assert stage.legacy.sent == [event]
    assert stage.memory.sent == [event]


async def test_the_legacy_side_gets_everything_in_commit_order_and_supabase_the_cohort(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path, percent=50)
    async with stage.publisher() as publisher:
        events = [
            await publisher.publish("t", {"n": number}, key=f"key-{number % 11}")
            for number in range(200)
        ]
        written = [
            event for event in events if publisher.flags.writes(event.topic, event.partition)
        ]
    assert stage.legacy.sent == events
    assert 0 < len(written) < 200
    assert stage.memory.sent == written


async def test_publish_waits_for_neither_side(tmp_path: Path) -> None:
    stage = Stage(tmp_path, publisher={"drain_s": 0.3})
    stage.legacy.down = stage.store.hang = True
    publisher = stage.publisher()
    async with publisher, asyncio.timeout(10):
        for number in range(50):
            await publisher.publish("t", number)
        assert publisher.owed == {"application": 50, "websocket": 0, "supabase": 50}
        owed = await publisher.close()
    assert owed == {"application": 50, "supabase": 50}
    stage.legacy.down = stage.store.hang = False
    async with stage.publisher() as again:
        assert await again.close() == {}
    assert len(stage.legacy.sent) == len(stage.memory.sent) == 50


async def test_published_twice_it_is_one_event(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with stage.publisher() as publisher:
        first = await publisher.publish("t", {"n": 1}, id="order-1")
        assert await publisher.publish("t", {"n": 1}, id="order-1") == first
        with pytest.raises(InvalidEvent, match="id: 'order-1' was published with another content"):
            await publisher.publish("t", {"n": 2}, id="order-1")
    async with stage.publisher() as publisher:
        assert await publisher.publish("t", {"n": 1}, id="order-1") == first
    assert stage.legacy.sent == stage.memory.sent == [first]
    assert stage.reporter.reports[-1].totals["published"] == 0


async def test_many_are_checked_before_any_is_journaled(tmp_path: Path) -> None:
    stage = Stage(tmp_path, journal={"group_events": 10})
    async with stage.publisher() as publisher:
        with pytest.raises(InvalidEvent, match="event 3: data: is missing"):
            await publisher.publish_many(
                [{"type": "t", "data": 1}, {"type": "t", "data": 2}, {"type": "t"}]
            )
        assert stage.legacy.calls == 0
        events = await publisher.publish_many({"type": "t", "data": n} for n in range(35))
        assert [event.sequence for event in events] == list(range(1, 36))
        assert await publisher.publish_many([]) == []
    assert stage.legacy.sent == events


async def test_after_close_it_takes_nothing(tmp_path: Path) -> None:
    publisher = Stage(tmp_path).publisher()
    with pytest.raises(Closed):
        await publisher.publish("t", 1)
    async with publisher:
        await publisher.publish("t", 1)
    with pytest.raises(Closed):
        await publisher.publish("t", 1)
    assert await publisher.close() == {}


async def test_a_second_publisher_on_the_journal_is_refused_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path)
    async with stage.publisher() as publisher:
        with pytest.raises(JournalLocked):
            await stage.publisher().__aenter__()
        await publisher.publish("t", 1)


async def test_telemetry_tells_what_happened(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.flags.set(cohort(100, version=7))
    async with stage.publisher() as publisher:
        for number in range(5):
            await publisher.publish("t", number)
    assert all(isinstance(report, Report) for report in stage.reporter.reports)
    report = stage.reporter.reports[-1]
    assert (report.instance, report.role, report.flag_version) == ("p1", Role.PUBLISHER, 7)
    assert report.totals == {"published": 5, "conflicts": 0, "parked": 0}
    for sink in ("application", "supabase"):
        windows = [one.sinks[sink] for one in stage.reporter.reports]
        assert sum(window.events for window in windows) == 5
        assert windows[-1].owed == 0
        assert windows[-1].breaker == "closed"
    assert sum(one.categories.get("critical", 0) for one in stage.reporter.reports) == 5
    assert Report.from_json(report.to_json()) == report


async def test_a_breaker_that_opens_is_reported_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossfade.publisher_reports.REPORT_S", 600)
    stage = Stage(tmp_path, publisher={"drain_s": 0})
    stage.store.down = True
    async with stage.publisher() as publisher:
        await publisher.publish("t", 1)
        reports = stage.reporter.reports
        await until(lambda: any(one.sinks["supabase"].breaker != "closed" for one in reports))
        assert publisher.breakers["application"] is BreakerState.CLOSED
        assert len(stage.legacy.sent) == 1


@pytest.mark.parametrize("fault", [ControlUnavailable("gone"), ZeroDivisionError("a bug")])
async def test_a_reporter_that_fails_disturbs_nothing_and_loses_no_count(
    tmp_path: Path, fault: Exception
) -> None:
    stage = Stage(tmp_path)
    received: list[Report] = []
    broken = True

    class Reporter:
        async def report(self, report: Report) -> None:
            if broken:
                raise fault
            received.append(report)

    async with stage.publisher(reporter=Reporter()) as publisher:
        await publisher.publish("t", 1)
        await until(lambda: len(stage.memory.sent) == 1)
        reports = publisher._reports
        assert reports is not None
        await reports._report()
        broken = False
        await publisher.publish("t", 2)
    assert received[-1].sinks["supabase"].events == 2
    assert received[-1].categories == {"critical": 2}


async def test_raising_the_cohort_starts_at_the_next_event_and_lowering_it_ends_there(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path, percent=0)
    async with stage.publisher() as publisher:
        await publisher.publish("t", 1)
        stage.flags.set(cohort(100, version=2))
        second = await publisher.publish("t", 2)
        stage.flags.set(cohort(0, version=3))
        await publisher.publish("t", 3)
        assert publisher.owed["supabase"] <= 1
    assert stage.memory.sent == [second]


async def test_without_a_legacy_side_nothing_is_owed_to_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with stage.publisher(legacy=None) as publisher:
        await publisher.publish("t", 1)
        assert publisher.owed["websocket"] == 0
        assert "application" not in publisher.owed
        assert set(publisher.breakers) == {"supabase"}
    assert len(stage.memory.sent) == 1


async def test_a_breaker_is_set_by_hand(tmp_path: Path) -> None:
    stage = Stage(tmp_path, publisher={"drain_s": 0})
    async with stage.publisher() as publisher:
        publisher.set_breaker("supabase", BreakerState.FORCED_OPEN, "maintenance")
        await publisher.publish("t", 1)
        assert publisher.breakers["supabase"] is BreakerState.FORCED_OPEN
        with pytest.raises(KeyError):
            publisher.set_breaker("nowhere", BreakerState.CLOSED, "")
    assert stage.memory.sent == []


def test_settings_that_do_not_fit_are_refused_before_anything_starts(tmp_path: Path) -> None:
    frames = {"url": "ws://127.0.0.1:1", "max_frame_bytes": 100_000}
    with pytest.raises(SettingsError, match=r"websocket\.max_frame_bytes: 100000 is too little"):
        Publisher(make_settings(tmp_path, websocket=frames))
    rules = {"rules": [{"name": "bad", "category": "critical", "pattern": "("}]}
    with pytest.raises(SettingsError, match="rule bad"):
        Publisher(make_settings(tmp_path, classification=rules))
    assert list(tmp_path.iterdir()) == []


async def test_without_a_control_server_nobody_is_in_the_cohort(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    async with stage.publisher(flags=None, reporter=None) as publisher:
        await publisher.publish("t", 1)
        assert publisher.flags.written_percent("critical") == 0
        assert publisher.flags.partitions == 4
    assert stage.memory.sent == []


async def test_settings_come_from_the_folder_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crossfade.toml").write_text('[publisher]\nsource = "shop"\n[journal]\nepoch = 3\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROSSFADE_JOURNAL__PATH", str(tmp_path / "j.db"))
    monkeypatch.setenv("CROSSFADE_WEBSOCKET__URL", "")
    async with AsyncExitStack() as exits:
        publisher = await exits.enter_async_context(Publisher(legacy=Legacy().send))
        event = await publisher.publish("t", 1)
    assert (event.source, event.epoch) == ("shop", 3)
    assert (tmp_path / "j.db").is_file()


def test_the_public_names_are_there() -> None:
    assert crossfade.Publisher is Publisher
    assert set(dir(crossfade)) == {"Publisher", "Subscriber", "SyncPublisher", "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        crossfade.Nothing  # noqa: B018


async def test_once_websocket_is_off_nothing_more_is_owed_to_the_legacy_side(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path, percent=100)
    async with stage.publisher() as publisher:
        stage.legacy.down = True
        before = await publisher.publish("t", {}, key="a")
        stage.flags.set(replace(stage.flags.flags, version=2, decommissioned=True))
        after = await publisher.publish("t", {}, key="a")
        stage.legacy.down = False
    assert stage.legacy.sent == [before], "what was owed before is still sent"
    assert stage.memory.sent == [before, after]
