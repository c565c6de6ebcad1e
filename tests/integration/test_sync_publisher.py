"""Plain calls from many threads, onto a real journal."""

import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import crossfade
from crossfade.adapters.journal_reader import JournalReader
from crossfade.adapters.memory import MemoryEventStore, StaticFlags
from crossfade.errors import Closed, InvalidEvent, JournalLocked, JournalUnavailable
from crossfade.sync_publisher import SyncPublisher
from tests.integration.publishers import cohort, make_settings


def test_many_threads_share_one_journal_and_each_keeps_its_order(tmp_path: Path) -> None:
    store = MemoryEventStore()
    sent: list[Any] = []
    settings = make_settings(tmp_path)
    with (
        SyncPublisher(
            settings, legacy=sent.extend, store=store, flags=StaticFlags(cohort(100))
        ) as publisher,
        ThreadPoolExecutor(8) as threads,
    ):

        def work(thread: int) -> list[Any]:
            return [publisher.publish("t", {"n": n}, key=f"k{thread}") for n in range(25)]

        found = list(threads.map(work, range(8)))
        assert publisher.close() == {}
    for events in found:
        assert [event.sequence for event in events] == sorted(event.sequence for event in events)
    by_key: dict[str, list[int]] = defaultdict(list)
    for event in sent:
        by_key[event.subject].append(event.payload["n"])
    assert dict(by_key) == {f"k{thread}": list(range(25)) for thread in range(8)}
    assert len(store.events) == 200
    with JournalReader(settings.journal.path) as reader:
        assert sum(head.sequence for head in reader.heads()) == 200


def test_errors_are_the_publishers_own(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    publisher = SyncPublisher(settings)
    with pytest.raises(Closed):
        publisher.publish("t", {})
    with publisher:
        with pytest.raises(InvalidEvent, match="key: must be a string"):
            publisher.publish("t", {}, key=7)  # type: ignore[arg-type]
        with pytest.raises(JournalLocked), SyncPublisher(settings):
            pass
        events = publisher.publish_many({"type": "t", "data": n} for n in range(3))
        assert [event.sequence for event in events] == [1, 2, 3]
        assert publisher.owed == {"websocket": 0, "supabase": 0}
        assert publisher.breakers == {}
    with pytest.raises(Closed):
        publisher.publish("t", {})
    with pytest.raises(Closed):
        _ = publisher.owed
    assert publisher.close() == {}
    assert not any(one.name == "crossfade-publisher" for one in threading.enumerate())


def test_a_disk_that_hangs_is_told_after_the_timeout_and_repeating_is_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    with SyncPublisher(make_settings(tmp_path), timeout_s=0.2) as publisher:
        ledger = publisher._publisher._journal._ledger
        commit = ledger.commit

        def slow(*arguments: Any) -> Any:
            go_on.wait(10)
            return commit(*arguments)

        monkeypatch.setattr(ledger, "commit", slow)
        started = time.monotonic()
        with pytest.raises(JournalUnavailable, match=r"within 0\.2 s.*repeat it with the same id"):
            publisher.publish("t", {}, id="once")
        assert time.monotonic() - started < 8
        go_on.set()
        assert publisher.publish("t", {}, id="once").sequence == 1


def test_a_plain_call_out_of_the_publishers_own_loop_is_refused_and_not_a_deadlock(
    tmp_path: Path,
) -> None:
    told: list[str] = []

    async def send(events: Any) -> None:
        try:
            publisher.publish("again", {})
        except RuntimeError as error:
            told.append(str(error))

    with SyncPublisher(make_settings(tmp_path), legacy=send) as publisher:
        publisher.publish("t", {})
        deadline = time.monotonic() + 10
        while not told and time.monotonic() < deadline:
            time.sleep(0.01)
    assert told == ["a plain call from the publisher's own loop would wait for itself"]


def test_it_is_one_of_the_packages_names() -> None:
    assert crossfade.SyncPublisher is SyncPublisher
    assert "SyncPublisher" in dir(crossfade)
