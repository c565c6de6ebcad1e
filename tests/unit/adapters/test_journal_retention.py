import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.adapters import journal_retention, journal_thread
from crossfade.adapters.journal_reader import JournalReader
from crossfade.adapters.journal_retention import Pruner
from crossfade.adapters.journal_schema import create
from crossfade.adapters.journal_sqlite import Journal
from crossfade.core.event import Stream
from crossfade.errors import JournalUnavailable
from crossfade.settings import JournalSettings
from tests.unit.adapters.journals import draft, journal, nothing

STREAM = Stream("app", 1, "critical", 0)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - the journal's thread is waited for
            await asyncio.sleep(0.01)


def held(folder: Path, stream: Stream = STREAM) -> list[int]:
    with JournalReader(folder / "journal.db") as reader:
        return [event.sequence for event in reader.read(stream, 1, 10_000, 10_000)]


def give(book: Journal, *sinks: str, next_: int, stream_id: int = 1) -> None:
    for sink in sinks:
        book.advance(sink, {stream_id: next_})


async def test_what_every_sink_has_is_pruned_down_to_the_retention(tmp_path: Path) -> None:
    async with journal(tmp_path, retention_events=3, prune_s=0.02) as book:
        await book.append([draft(n) for n in range(1, 11)])
        give(book, "websocket", "supabase", next_=11)
        await until(lambda: held(tmp_path) == [8, 9, 10])
        assert book.head(1).floor == 8
        assert (await book.fill(STREAM, 1, 9))[1:] == (8, 10)
        assert [one.sequence for one in (await book.fill(STREAM, 1, 9)).events] == [8, 9]
    async with journal(tmp_path) as book:
        assert book.head(1) == (STREAM, 10, 8)
        (event,) = await book.append([draft(11)])
        assert event.sequence == 11


async def test_what_a_sink_is_owed_stays_however_old(tmp_path: Path) -> None:
    async with journal(tmp_path, retention_events=1, prune_s=0.02) as book:
        await book.append([draft(n) for n in range(1, 11)])
        give(book, "websocket", next_=11)
        give(book, "supabase", next_=6)
        await until(lambda: held(tmp_path)[0] == 6)
        await asyncio.sleep(0.1)
        assert held(tmp_path) == [6, 7, 8, 9, 10]
        give(book, "supabase", next_=11)
        await until(lambda: held(tmp_path) == [10])


async def test_a_sink_that_was_never_routed_here_holds_nothing_back(tmp_path: Path) -> None:
    async with journal(tmp_path, supabase=nothing, retention_events=1, prune_s=0.02) as book:
        await book.append([draft(n) for n in range(1, 5)])
        give(book, "websocket", next_=5)
        await until(lambda: held(tmp_path) == [4])


async def test_age_prunes_and_the_last_event_stays(tmp_path: Path) -> None:
    async with journal(tmp_path, retention_s=0.05, prune_s=0.02) as book:
        await book.append([draft(n) for n in range(1, 6)])
        give(book, "websocket", "supabase", next_=6)
        await until(lambda: held(tmp_path) == [5])
    async with journal(tmp_path, retention_s=3_600, prune_s=0.02) as book:
        await book.append([draft(n) for n in range(6, 9)])
        give(book, "websocket", "supabase", next_=9)
        await asyncio.sleep(0.15)
        assert held(tmp_path) == [5, 6, 7, 8]


async def test_rows_outlive_their_floor_by_one_pass(tmp_path: Path) -> None:
    """Whoever read the older floor a moment ago still finds what he expects."""
    async with journal(tmp_path, retention_events=1, prune_s=0.3) as book:
        await book.append([draft(n) for n in range(1, 6)])
        give(book, "websocket", "supabase", next_=6)
        await until(lambda: book.head(1).floor == 5)
        assert held(tmp_path) == [1, 2, 3, 4, 5]
        await until(lambda: held(tmp_path) == [5])


async def test_small_steps_over_many_streams_reach_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_retention, "PRUNE_EVENTS", 4)
    monkeypatch.setattr(journal_retention, "PRUNE_STREAMS", 2)
    monkeypatch.setattr(journal_thread, "PRUNE_PAUSE_S", 0.001)
    async with journal(tmp_path, retention_events=2, prune_s=0.02) as book:
        for partition in range(5):
            await book.append([draft(n, partition=partition) for n in range(1, 12)])
        for stream_id in range(1, 6):
            give(book, "websocket", "supabase", next_=12, stream_id=stream_id)
        streams = [STREAM._replace(partition=number) for number in range(5)]
        await until(lambda: all(held(tmp_path, one) == [10, 11] for one in streams))


async def test_publishing_goes_on_while_a_step_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with journal(tmp_path, retention_events=1, prune_s=0.02) as book:
        await book.append([draft(1), draft(2)])
        give(book, "websocket", "supabase", next_=3)
        prune = book._ledger.prune

        def fail() -> None:
            raise JournalUnavailable("the disk failed")

        monkeypatch.setattr(book._ledger, "prune", fail)
        await until(lambda: "old events could not be pruned: the disk failed" in caplog.text)
        (event,) = await book.append([draft(3)])
        assert event.sequence == 3
        monkeypatch.setattr(book._ledger, "prune", prune)
        give(book, "websocket", "supabase", next_=4)
        await until(lambda: held(tmp_path) == [3])


ROUTES = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 6)), max_size=3)


@settings(max_examples=150, deadline=None)
@given(
    head=st.integers(2, 20),
    routes=st.dictionaries(st.sampled_from(["a", "b"]), ROUTES),
    cursors=st.dictionaries(st.sampled_from(["a", "b"]), st.integers(1, 21)),
    count=st.integers(0, 10),
    age=st.integers(0, 25),
)
def test_the_floor_is_the_first_that_is_owed_or_retained(
    head: int,
    routes: dict[str, list[tuple[int, int]]],
    cursors: dict[str, int],
    count: int,
    age: int,
) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    create(connection)
    connection.execute("INSERT INTO streams VALUES (1, 'app', 1, 'critical', 0, ?, 1)", (head,))
    connection.executemany(
        "INSERT INTO events VALUES (1, ?, ?, 't', 0, '', 'c', '{}', 0, ?)",
        [(n, f"id-{n}", n * 1_000_000) for n in range(1, head + 1)],
    )
    owed: set[int] = set()
    for sink, spans in routes.items():
        first = 0
        for jump, length in spans:
            first += jump
            last = first + length
            connection.execute("INSERT INTO routes VALUES (?, 1, ?, ?)", (sink, first, last))
            owed |= set(range(max(first, cursors.get(sink, 1)), min(last, head) + 1))
            first = last
    connection.executemany("INSERT INTO cursors VALUES (?, 1, ?)", list(cursors.items()))
    pruner = Pruner(JournalSettings(retention_events=count, retention_s=age))
    for _ in range(3):
        pruner.step(connection, (head + 1) * 1_000_000)
    first = connection.execute("SELECT min(sequence) FROM events").fetchone()[0]
    gone_by_count = {n for n in range(1, head + 1) if count and n <= head - count}
    gone_by_age = {n for n in range(1, head + 1) if age and n < head + 1 - age}
    kept = owed | {head} | (set(range(1, head + 1)) - gone_by_count - gone_by_age)
    assert first == min(kept)
    connection.close()
