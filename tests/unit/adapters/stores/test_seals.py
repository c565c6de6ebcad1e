"""Seals between runs."""

import sqlite3
from pathlib import Path

import pytest

from crossfade.adapters.stores.seals import SealStore
from crossfade.core.reconciliation_plan import Seal, SealedStream, Seals
from crossfade.errors import UsageError
from tests.reconciliation_data import stream

ONE, TWO = stream("critical", 3), stream("system", 7)
SEAL = Seal(last=256, realtime=250, total=2**64 - 1, verified_us=7)
NEXT = SEAL._replace(last=512, verified_us=8)
OWED = {ONE: {"websocket": ((1, 300),), "supabase": ((1, 5), (9, 300))}}


def test_seals_survive_and_are_replaced_and_broken(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "seals.db"
    store = SealStore(path, 256)
    assert store.load(9) == Seals()
    assert store.marks() == {}
    growing = SEAL._replace(last=700, verified_us=5)
    sealed = [(ONE, 0, SEAL), (ONE, 1, NEXT), (ONE, 2, growing), (TWO, 4, SEAL)]
    assert store.save(sealed, [], OWED, {"journal": "7"}) == 4
    store.close()
    store = SealStore(path, 256)
    assert store.marks() == {"journal": "7"}
    loaded = store.load(2)
    assert loaded.streams[ONE] == SealedStream(((0, 1),), {2: 700}, OWED[ONE], 750)
    assert loaded.streams[TWO] == SealedStream((), {4: 256}, {}, 250)
    assert loaded.oldest == ((ONE, 2), (ONE, 0))  # by age, then by place
    assert store.seals_of(ONE, 1, 9) == {1: NEXT, 2: growing}
    newer = SEAL._replace(last=768, total=2**63, verified_us=9)
    broken = [(TWO, 4, 4), (TWO, 90, 99), (ONE, 0, 2)]
    assert store.save([(ONE, 2, newer)], broken, {}, {"journal": "9"}) == 1
    assert store.load(0).streams[ONE] == SealedStream(((2, 2),), {}, OWED[ONE], 250)
    assert store.seals_of(ONE, 0, 9) == {2: newer}
    assert store.marks() == {"journal": "9"}
    store.close()


def test_holes_part_the_runs(tmp_path: Path) -> None:
    store = SealStore(tmp_path / "seals.db", 10)
    whole = [(ONE, n, SEAL._replace(last=(n + 1) * 10)) for n in (0, 1, 3, 4, 5, 9)]
    store.save(whole, [], {}, {})
    assert store.load(0).streams[ONE].runs == ((0, 1), (3, 5), (9, 9))
    store.close()


def test_another_block_size_drops_them_all(tmp_path: Path) -> None:
    store = SealStore(tmp_path / "seals.db", 256)
    store.save([(ONE, 0, SEAL)], [], {}, {})
    store.close()
    store = SealStore(tmp_path / "seals.db", 128)
    assert store.load(9) == Seals({ONE: SealedStream()})
    store.close()


def test_two_runs_at_once_do_not_tear_it(tmp_path: Path) -> None:
    one, other = SealStore(tmp_path / "s.db", 256), SealStore(tmp_path / "s.db", 256)
    one.load(0)
    other.save([(TWO, 4, SEAL)], [], {}, {})
    one.save([(ONE, 0, SEAL)], [(TWO, 4, 4)], {}, {})
    assert other.load(9) == one.load(9)
    assert one.load(9).oldest == ((ONE, 0),)
    one.close()
    other.close()


def test_nothing_is_saved_by_half(tmp_path: Path) -> None:
    store = SealStore(tmp_path / "s.db", 8)

    def breaking() -> object:
        yield ONE, 0, SEAL
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        store.save(breaking(), [], {}, {"journal": "7"})  # type: ignore[arg-type]
    assert (store.load(9), store.marks()) == (Seals(), {})
    store.close()


def test_seals_of_the_first_version_are_dropped(tmp_path: Path) -> None:
    """They do not say since when changes are known."""
    old = sqlite3.connect(tmp_path / "s.db")
    for table in ("meta (key, value)", "streams (stream_id)", "seals (stream_id, block)"):
        old.execute(f"CREATE TABLE {table}")
    old.execute("PRAGMA user_version = 1")
    old.close()
    store = SealStore(tmp_path / "s.db", 8)
    assert store.load(9) == Seals()
    assert store.save([(ONE, 0, SEAL)], [], {}, {}) == 1
    store.close()


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    newer = sqlite3.connect(tmp_path / "newer.db")
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(UsageError, match=r"newer\.db: written by a later version"):
        SealStore(tmp_path / "newer.db", 8)
    (tmp_path / "text.db").write_text("no database" * 100)
    with pytest.raises(UsageError, match=r"text\.db: the state of reconciliations"):
        SealStore(tmp_path / "text.db", 8)
    with pytest.raises(UsageError, match="remove the file or set"):
        SealStore(tmp_path, 8)
