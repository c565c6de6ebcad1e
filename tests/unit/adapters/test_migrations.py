import re
from pathlib import Path

import pytest

from crossfade.adapters.migrations import (
    applied_versions,
    apply_migrations,
    find_migrations,
    migrations_folder,
)
from crossfade.errors import StackError, StoreRejected, StoreUnavailable
from tests.services import Postgres


def test_our_own_are_found_in_order_and_well_named() -> None:
    found = find_migrations()
    assert len(found) >= 5
    assert [one.version for one in found] == sorted({one.version for one in found})
    for one in found:
        assert re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", one.name), one
    assert migrations_folder() == Path(__file__).parents[3] / "supabase" / "migrations"


def test_a_badly_named_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "1_x.sql").touch()
    with pytest.raises(StackError, match=r"1_x\.sql"):
        find_migrations(tmp_path)


def test_a_failing_file_leaves_nothing_of_itself(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.create_database("template1")
    (tmp_path / "20260101000000_make_one.sql").write_text("create table one ();")
    (tmp_path / "20260102000000_make_two.sql").write_text(
        "create table two (); select 1 / 0; create table three ();"
    )
    with pytest.raises(StoreRejected, match=r"20260102000000_make_two\.sql: division by zero"):
        apply_migrations(url, tmp_path)
    assert applied_versions(url) == ["20260101000000"]
    (tmp_path / "20260102000000_make_two.sql").write_text("create table two ();")
    assert apply_migrations(url, tmp_path) == ["20260102000000"]


def test_a_database_that_has_none(postgres: Postgres) -> None:
    assert applied_versions(postgres.create_database("template1")) == []


def test_an_unreachable_database_is_said_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="can not be reached") as raised:
        apply_migrations(f"postgresql://postgres:hunter2@/x?host={tmp_path}", timeout_s=2)
    assert "hunter2" not in str(raised.value)
    with pytest.raises(StoreRejected, match="URL") as rejected:
        apply_migrations("nonsense hunter2", timeout_s=2)
    assert "hunter2" not in str(rejected.value)
