"""The kept database holds a schema and nothing else, and never stands in the way."""

import sqlite3
from contextlib import closing
from pathlib import Path

from crossfade.local.prefect_seed import keep_seed, plant_seed, seed_name


def make_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(
            "CREATE TABLE alembic_version (version_num TEXT);"
            "INSERT INTO alembic_version VALUES ('abc');"
            "CREATE TABLE parents (id INTEGER PRIMARY KEY);"
            "CREATE TABLE secrets (value TEXT, parent INTEGER REFERENCES parents);"
            "INSERT INTO parents VALUES (1);"
            "INSERT INTO secrets VALUES ('hunter2', 1);"
        )
        connection.executemany("INSERT INTO secrets VALUES (?, 1)", [("x" * 500,)] * 100)
        connection.commit()


def test_a_seed_is_the_schema_without_rows(tmp_path: Path) -> None:
    database, seed = tmp_path / "prefect.db", tmp_path / "cache" / "seed.db"
    make_database(database)
    assert keep_seed(database, seed)
    assert b"hunter2" not in seed.read_bytes()
    with closing(sqlite3.connect(seed)) as connection:
        assert connection.execute("SELECT * FROM alembic_version").fetchall() == [("abc",)]
        assert connection.execute("SELECT count(*) FROM secrets").fetchone() == (0,)
        assert connection.execute("PRAGMA freelist_count").fetchone() == (0,)
    assert sorted(path.name for path in seed.parent.iterdir()) == ["seed.db"]
    planted = tmp_path / "fresh" / "prefect.db"
    planted.parent.mkdir()
    assert plant_seed(seed, planted)
    assert planted.read_bytes() == seed.read_bytes()


def test_a_database_that_is_there_is_left_alone(tmp_path: Path) -> None:
    database, seed = tmp_path / "prefect.db", tmp_path / "seed.db"
    make_database(database)
    keep_seed(database, seed)
    before = database.read_bytes()
    assert not plant_seed(seed, database)
    assert database.read_bytes() == before


def test_no_seed_and_a_broken_seed_are_no_errors(tmp_path: Path) -> None:
    target = tmp_path / "prefect.db"
    assert not plant_seed(tmp_path / "none.db", target)
    for content in (b"", b"not a database" * 100):
        (tmp_path / "broken.db").write_bytes(content)
        assert not plant_seed(tmp_path / "broken.db", target)
    assert not target.exists()


def test_a_folder_that_can_not_be_made_is_no_error(tmp_path: Path) -> None:
    database = tmp_path / "prefect.db"
    make_database(database)
    (tmp_path / "file").touch()
    assert not keep_seed(database, tmp_path / "file" / "seed.db")
    assert not keep_seed(tmp_path / "none.db", tmp_path / "seed.db")
    assert not (tmp_path / "seed.db").exists()


def test_each_version_has_its_own() -> None:
    assert seed_name("3.8.8") != seed_name("3.8.9")
