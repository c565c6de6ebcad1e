"""Seals between runs."""

import sqlite3
from pathlib import Path

import pytest

from crossfade.adapters.stores.seals import SealStore
from crossfade.core.reconciliation_plan import Seal
from crossfade.errors import UsageError
from tests.reconciliation_data import stream

ONE, TWO = stream("critical", 3), stream("system", 7)
SEAL = Seal(last=256, websocket=255, supabase=256, realtime=250, total=2**64 - 1, verified_us=7)


def test_seals_survive_and_are_replaced_and_broken(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "seals.db"
    store = SealStore(path, 256)
    assert store.load() == {}
    assert store.save([(ONE, 0, SEAL), (ONE, 1, SEAL), (TWO, 0, SEAL)], []) == 3
    store.close()
    store = SealStore(path, 256)
    assert store.load() == {ONE: {0: SEAL, 1: SEAL}, TWO: {0: SEAL}}
    newer = SEAL._replace(last=300, total=2**63, verified_us=8)
    assert store.save([(ONE, 1, newer)], [(TWO, 0), (TWO, 9)]) == 2
    assert store.load() == {ONE: {0: SEAL, 1: newer}, TWO: {}}
    store.close()


def test_another_block_size_drops_them_all(tmp_path: Path) -> None:
    store = SealStore(tmp_path / "seals.db", 256)
    store.save([(ONE, 0, SEAL)], [])
    store.close()
    store = SealStore(tmp_path / "seals.db", 128)
    assert store.load() == {ONE: {}}
    store.close()


def test_two_runs_at_once_do_not_tear_it(tmp_path: Path) -> None:
    one, other = SealStore(tmp_path / "s.db", 8), SealStore(tmp_path / "s.db", 8)
    one.load()
    other.save([(TWO, 4, SEAL)], [])
    one.save([(ONE, 0, SEAL)], [(TWO, 4)])
    assert other.load() == one.load() == {ONE: {0: SEAL}, TWO: {}}
    one.close()
    other.close()


def test_nothing_is_saved_by_half(tmp_path: Path) -> None:
    store = SealStore(tmp_path / "s.db", 8)

    def breaking() -> object:
        yield ONE, 0, SEAL
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        store.save(breaking(), [])  # type: ignore[arg-type]
    assert store.load() == {}
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
