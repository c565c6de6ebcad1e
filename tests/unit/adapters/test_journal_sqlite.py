import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from crossfade.adapters.journal_reader import JournalReader, Parked
from crossfade.core.event import Position, Stream, content_hash
from crossfade.core.outbox import Route, Span
from crossfade.errors import (
    Closed,
    InvalidEvent,
    JournalLocked,
    JournalTooNew,
    JournalUnavailable,
    SettingsError,
)
from tests.unit.adapters.journals import draft, everything, journal, nothing

STREAM = Stream("app", 1, "critical", 0)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_sequences_are_gapless_per_partition_and_hashes_are_true(tmp_path: Path) -> None:
    async with journal(tmp_path) as book:
        events = await book.append([draft(1), draft(1, partition=7), draft(2)])
        events += await book.append([draft(3), draft(2, partition=7)])
    assert [(event.partition, event.sequence) for event in events] == [
        (0, 1),
        (7, 1),
        (0, 2),
        (0, 3),
        (7, 2),
    ]
    assert all(event.hash == content_hash(event) for event in events)
    with JournalReader(tmp_path / "journal.db") as reader:
        assert reader.read(STREAM, 1, 99) == [events[0], events[2], events[3]]
        assert reader.read(STREAM, 2, 3, limit=1) == [events[2]]
        assert [(head.sequence, head.floor) for head in reader.heads()] == [(3, 1), (2, 1)]
        assert reader.event(events[4].id) == events[4]
        assert reader.event("nowhere") is None
        assert reader.meta()["source"] == "app"
        times = [event.committed_us for event in events]
        assert times == sorted(set(times))
        assert times[0] > 1_700_000_000_000_000


async def test_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    async with journal(tmp_path) as book:
        await book.append([draft(1), draft(2)])
    async with journal(tmp_path, epoch=77) as book:
        (event,) = await book.append([draft(3)])
    assert event.position == Position("app", 1, "critical", 0, 3)


async def test_a_new_journal_has_a_new_and_higher_epoch(tmp_path: Path) -> None:
    async with journal(tmp_path, epoch=None) as book:
        (event,) = await book.append([draft(1)])
    assert event.epoch > 1_700_000_000


async def test_waiting_requests_share_a_commit(tmp_path: Path) -> None:
    async with journal(tmp_path) as book:
        commits = 0

        def count() -> None:
            nonlocal commits
            commits += 1

        book.listen(count)
        answers = await asyncio.gather(*(book.append([draft(n)]) for n in range(1, 501)))
    assert sorted(event.sequence for (event,) in answers) == list(range(1, 501))
    assert commits < 50


async def test_an_id_published_twice_is_one_event(tmp_path: Path) -> None:
    async with journal(tmp_path) as book:
        (first,) = await book.append([draft(1)])
        again = draft(1)._replace(time_us=5)
        assert await book.append([again]) == [first]
        one, two, three = await asyncio.gather(*(book.append([draft(2)]) for _ in range(3)))
        assert one == two == three
        assert await book.append([draft(3), draft(3), draft(1)]) == [
            *(await book.append([draft(3)])) * 2,
            first,
        ]
        assert [head.sequence for head in book.heads()] == [3]


async def test_an_id_that_was_minted_is_one_event_when_it_is_given_again(tmp_path: Path) -> None:
    async with journal(tmp_path) as book:
        (first,) = await book.append([draft(1, minted=True)])
        assert await book.append([draft(1)]) == [first]
        with pytest.raises(InvalidEvent, match="another content"):
            await book.append([draft(1, data='{"n":"other"}')])
        mixed = await book.append([draft(2, minted=True), draft(3), draft(4, minted=True)])
        assert [event.sequence for event in mixed] == [2, 3, 4]


async def test_the_same_id_minted_twice_is_refused_by_the_file(tmp_path: Path) -> None:
    async with journal(tmp_path) as book:
        (first,) = await book.append([draft(1, minted=True)])
        with pytest.raises(JournalUnavailable, match=r"UNIQUE.*events\.id"):
            await book.append([draft(2, minted=True), draft(1, minted=True)])
        # Nothing of that group was taken, and the journal goes on.
        assert await book.append([draft(1)]) == [first]
        assert [event.sequence for event in await book.append([draft(2)])] == [2]


async def test_an_id_for_another_content_refuses_its_request_alone(tmp_path: Path) -> None:
    async with journal(tmp_path) as book:
        await book.append([draft(1)])
        results = await asyncio.gather(
            book.append([draft(2)]),
            book.append([draft(3), draft(1, data='{"n":"other"}')]),
            book.append([draft(4), draft(4, data='{"n":"other"}')]),
            book.append([draft(5)]),
            return_exceptions=True,
        )
        assert isinstance(results[1], InvalidEvent)
        assert "app/1/critical/0/1" in str(results[1])
        assert isinstance(results[2], InvalidEvent)
        assert [head.sequence for head in book.heads()] == [3]
    with JournalReader(tmp_path / "journal.db") as reader:
        assert [event.id[-1] for event in reader.read(STREAM, 1, 99)] == ["1", "2", "5"]


async def test_routes_begin_with_the_event_and_end_with_the_last_one(tmp_path: Path) -> None:
    cohort: set[int] = set()
    async with journal(tmp_path, supabase=lambda _, partition: partition in cohort) as book:
        await book.append([draft(1), draft(1, partition=1)])
        cohort.add(0)
        assert book.outbox("supabase").owed == 0
        await book.append([draft(2), draft(3)])
        cohort.clear()
        assert list(book.outbox("supabase").spans()) == [Span(1, 2, 3)]
        await book.append([draft(4)])
        cohort.add(0)
        await book.append([draft(5)])
        assert list(book.outbox("supabase").spans()) == [Span(1, 2, 3), Span(1, 5, 5)]
        assert book.outbox("websocket").owed == 6
    with JournalReader(tmp_path / "journal.db") as reader:
        assert reader.routes("supabase") == {STREAM: (Route(2, 3), Route(5, None))}
        assert set(reader.routes("websocket").values()) == {(Route(1, None),)}
    async with journal(tmp_path, supabase=nothing) as book:
        assert list(book.outbox("supabase").spans()) == [Span(1, 2, 3), Span(1, 5, 5)]
        await book.append([draft(6)])
    with JournalReader(tmp_path / "journal.db") as reader:
        assert reader.routes("supabase") == {STREAM: (Route(2, 3), Route(5, 5))}


async def test_cursors_and_parked_events_survive(tmp_path: Path) -> None:
    async with journal(tmp_path) as book:
        events = await book.append([draft(n) for n in range(1, 6)])
        book.advance("supabase", {1: 3})
        book.park("supabase", events[2], "too big")
        assert book.parked("supabase") == 1
        assert list(book.outbox("supabase").spans()) == [Span(1, 4, 5)]
        await book.flush()
        with JournalReader(book.path) as reader:
            assert reader.cursors("supabase") == {STREAM: 4}
            (parked,) = reader.parked()
        assert parked == Parked("supabase", events[2].position, "too big", parked.at_us)
        book.advance("supabase", {1: 5})
    async with journal(tmp_path) as book:
        assert list(book.outbox("supabase").spans()) == [Span(1, 5, 5)]
        assert list(book.outbox("websocket").spans()) == [Span(1, 1, 5)]
        assert book.parked("supabase") == 1


async def test_cursors_are_written_without_another_event(tmp_path: Path) -> None:
    async with journal(tmp_path) as book:
        await book.append([draft(1)])
        book.advance("supabase", {1: 2})
        with JournalReader(book.path) as reader:
            async with asyncio.timeout(10):
                while reader.cursors("supabase") != {STREAM: 2}:  # noqa: ASYNC110 - another view
                    await asyncio.sleep(0.02)


async def test_a_fill_gives_pages_and_bounds(tmp_path: Path) -> None:
    async with journal(tmp_path) as book:
        events = await book.append([draft(n) for n in range(1, 6)])
        assert await book.fill(STREAM, 2, 4) == (events[1:4], 1, 5)
        assert await book.fill(STREAM, 6, 9) == ([], 1, 5)
        assert await book.fill(STREAM._replace(topic="nowhere"), 1, 1) == ([], None, None)


async def test_above_its_limit_append_waits(tmp_path: Path) -> None:
    async with journal(tmp_path, queue_events=2) as book:
        await book.append([draft(1)])
        blocker = sqlite3.connect(book.path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        tasks = [asyncio.create_task(book.append([draft(n)])) for n in range(2, 8)]
        await asyncio.sleep(0.1)
        assert book._queued == 2
        assert len(book._waiters) == 4
        tasks[3].cancel()
        blocker.execute("COMMIT")
        blocker.close()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one).__name__ for one in done].count("CancelledError") == 1
        assert book._queued == 0
        # One request above the limit is taken alone rather than never.
        assert len(await book.append([draft(n) for n in range(10, 20)])) == 10


async def test_a_journal_from_the_future_is_left_untouched(tmp_path: Path) -> None:
    async with journal(tmp_path) as book:
        await book.append([draft(1)])
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    before = contents(tmp_path)
    with pytest.raises(JournalTooNew, match=r"version 2.*untouched"):
        await journal(tmp_path).__aenter__()
    with pytest.raises(JournalTooNew):
        JournalReader(tmp_path / "journal.db")
    assert contents(tmp_path) == before


async def test_what_is_no_journal_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_text("a diary, not a database, and long enough to be looked at " * 3)
    with pytest.raises(JournalUnavailable, match="no journal"):
        await journal(tmp_path).__aenter__()
    assert path.read_text().startswith("a diary")
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE diary (entry TEXT)")
    connection.close()
    with pytest.raises(JournalUnavailable, match="something else"):
        await journal(tmp_path).__aenter__()
    with pytest.raises(JournalUnavailable, match="does not exist"):
        await journal(tmp_path / "nowhere").__aenter__()
    with pytest.raises(JournalUnavailable, match="there is no journal"):
        JournalReader(tmp_path / "other.db")
    (tmp_path / "folder").mkdir()
    with pytest.raises(JournalUnavailable):
        await journal(tmp_path, path=tmp_path / "folder").__aenter__()


async def test_a_journal_of_another_source_is_refused(tmp_path: Path) -> None:
    async with journal(tmp_path):
        pass
    with pytest.raises(SettingsError, match="'app', not 'other'"):
        await journal(tmp_path, source="other").__aenter__()


async def test_a_damaged_journal_is_refused_on_opening(tmp_path: Path) -> None:
    async with journal(tmp_path) as book:
        await book.append([draft(1), draft(2)])
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        connection.execute("DELETE FROM events WHERE sequence = 2")
    connection.close()
    with pytest.raises(JournalUnavailable, match="head 2 but events up to 1"):
        await journal(tmp_path).__aenter__()


async def test_a_second_writer_is_refused_and_a_closed_one_lets_in(tmp_path: Path) -> None:
    async with journal(tmp_path) as book:
        await book.append([draft(1)])
        with pytest.raises(JournalLocked, match=r"process \d+ on .+ writes this journal"):
            await journal(tmp_path).__aenter__()
        await book.append([draft(2)])
    async with journal(tmp_path) as book:
        (event,) = await book.append([draft(3)])
        assert event.sequence == 3


async def test_a_writer_that_was_replaced_is_fenced_off(tmp_path: Path) -> None:
    """Even if the lock file is lost, the older writer cannot commit once a newer one began."""
    async with journal(tmp_path) as older:
        await older.append([draft(1)])
        (tmp_path / "journal.db.lock").unlink()
        async with journal(tmp_path) as newer:
            await newer.append([draft(2)])
            with pytest.raises(JournalLocked):
                await older.append([draft(3)])
            (event,) = await newer.append([draft(4)])
            assert event.sequence == 3
            with pytest.raises(JournalLocked):
                await older.append([draft(5)])
    with JournalReader(tmp_path / "journal.db") as reader:
        assert [event.id[-1] for event in reader.read(STREAM, 1, 99)] == ["1", "2", "4"]


async def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    book = journal(tmp_path)
    with pytest.raises(Closed):
        await book.append([draft(1)])
    async with book:
        pending = asyncio.create_task(book.append([draft(1)]))
        await asyncio.sleep(0)
    assert len(await pending) == 1
    with pytest.raises(Closed):
        await book.append([draft(2)])
    with pytest.raises(Closed):
        await book.read([Span(1, 1, 1)], 1)
    await book.close()


async def test_a_writing_thread_that_breaks_leaves_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("threading.excepthook", lambda _: None)
    async with journal(tmp_path) as book:
        monkeypatch.setattr(book._ledger, "commit", explode)
        writer = book._writer
        assert writer is not None
        for _ in range(2):
            with pytest.raises(JournalUnavailable, match="restart the publisher"):
                await book.append([draft(1)])
        # The hook above must still be there when the thread ends.
        await asyncio.to_thread(writer._thread.join)


@pytest.mark.parametrize("loads_that_fail", [0, 1])
async def test_a_commit_of_unknown_outcome_is_looked_up_and_never_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loads_that_fail: int
) -> None:
    async with journal(tmp_path) as book:
        await book.append([draft(1)])
        ledger = book._ledger
        commit, load = ledger.commit, ledger.load
        faults = {"commit": 1, "load": loads_that_fail}

        def commit_and_lose(requests: Any, upkeep: Any) -> Any:
            result = commit(requests, upkeep)
            if faults["commit"]:
                faults["commit"] -= 1
                # As after a failed fsync: committed, but the books in memory do not know.
                ledger._streams["critical", 0].head = 1
                raise JournalUnavailable("the disk failed")
            return result

        def fail_to_load() -> Any:
            if faults["load"]:
                faults["load"] -= 1
                raise JournalUnavailable("the disk still fails")
            return load()

        monkeypatch.setattr(ledger, "commit", commit_and_lose)
        monkeypatch.setattr(ledger, "load", fail_to_load)
        book.advance("supabase", {1: 2})
        with pytest.raises(JournalUnavailable, match="the disk failed"):
            await book.append([draft(2), draft(3)])
        (again,) = await book.append([draft(2)])
        (event,) = await book.append([draft(4)])
        assert (again.sequence, event.sequence) == (2, 4)
        assert list(book.outbox("websocket").spans()) == [Span(1, 1, 4)]
        assert list(book.outbox("supabase").spans()) == [Span(1, 2, 4)]
        assert book.events == 4
    with JournalReader(tmp_path / "journal.db") as reader:
        assert [event.id[-1] for event in reader.read(STREAM, 1, 99)] == ["1", "2", "3", "4"]
        assert reader.cursors("supabase") == {STREAM: 2}


async def test_cursors_of_a_group_that_failed_are_written_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with journal(tmp_path) as book:
        (event,) = await book.append([draft(1)])
        commit = book._ledger.commit

        def fail(*_: Any) -> Any:
            raise JournalUnavailable("the disk failed")

        monkeypatch.setattr(book._ledger, "commit", fail)
        book.park("supabase", event, "too big")
        with pytest.raises(JournalUnavailable):
            await book.flush()
        monkeypatch.setattr(book._ledger, "commit", commit)
        await book.flush()
        with JournalReader(book.path) as reader:
            assert reader.cursors("supabase") == {STREAM: 2}
            assert [one.position for one in reader.parked()] == [event.position]


@pytest.mark.parametrize("durability", ["fsync", "os"])
async def test_durability_is_what_was_asked(tmp_path: Path, durability: str) -> None:
    async with journal(tmp_path, durability=durability) as book:
        (level,) = book._ledger._connection.execute("PRAGMA synchronous").fetchone()
        (mode,) = book._ledger._connection.execute("PRAGMA journal_mode").fetchone()
    assert (level, mode) == ({"fsync": 2, "os": 1}[durability], "wal")
    assert (tmp_path / "journal.db").stat().st_mode & 0o777 == 0o600


def test_reading_needs_no_writer(tmp_path: Path) -> None:
    async def write() -> None:
        async with journal(tmp_path, supabase=everything) as book:
            await book.append([draft(1)])

    asyncio.run(write())
    with JournalReader(tmp_path / "journal.db") as one, JournalReader(one._path) as two:
        assert one.streams() == two.streams()
        assert one.cursors("websocket") == {}
        assert one.read(STREAM._replace(partition=9), 1, 9) == []


@pytest.mark.parametrize(
    ("pragma", "mended", "advice"),
    [
        ("max_page_count = 1", "max_page_count = 1000000", "the disk is full: free some space"),
        ("query_only = 1", "query_only = 0", "make the file and its folder writable"),
    ],
    ids=["full", "read-only"],
)
async def test_a_file_that_takes_no_more_is_told_and_what_was_acknowledged_stays(
    tmp_path: Path, pragma: str, mended: str, advice: str
) -> None:
    async with journal(tmp_path, prune_s=1_000) as book:
        await book.append([draft(1)])
        book._ledger._connection.execute(f"PRAGMA {pragma}")
        for _ in range(2):
            with pytest.raises(JournalUnavailable, match=advice):
                await book.append([draft(n, data='"' + "x" * 10_000 + '"') for n in (2, 3)])
        assert [event.sequence for event in (await book.fill(STREAM, 1, 9)).events] == [1]
        book._ledger._connection.execute(f"PRAGMA {mended}")
        (event,) = await book.append([draft(4)])
        assert event.sequence == 2


async def test_a_corrupt_page_is_told_and_the_journal_is_kept_for_repair(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    async with journal(tmp_path) as book:
        await book.append([draft(n, data='"' + "x" * 2_000 + '"') for n in range(1, 60)])
    async with journal(tmp_path) as book:
        # Every page but the first, which holds the schema, loses its header.
        with path.open("r+b") as file:
            for page in range(1, path.stat().st_size // 4_096):
                file.seek(page * 4_096)
                file.write(b"\xff" * 64)
        book._ledger._connection.execute("PRAGMA shrink_memory")
        with pytest.raises(JournalUnavailable, match="damaged: keep it for repair, and start a"):
            await book.append([draft(100)])
    with pytest.raises(JournalUnavailable, match="damaged"):
        await journal(tmp_path).__aenter__()
