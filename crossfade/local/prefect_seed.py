"""An empty, migrated database for Prefect's server, kept so that the next start is quick.

A fresh server runs some 130 migrations (5 s of one core). Their outcome depends only on
Prefect's version, so an empty copy of it may be handed to the next fresh server; the server
still checks the version that the database says it has and migrates from there.
"""

import contextlib
import os
import shutil
import sqlite3
import sys
from pathlib import Path

import structlog

__all__ = ["keep_seed", "plant_seed", "seed_folder", "seed_name"]

_VERSION_TABLE = "alembic_version"
_log = structlog.get_logger("crossfade.prefect")


def seed_name(version: str) -> str:
    """The file's name for a version of Prefect; SQLite's own version has a part in the schema."""
    return f"prefect-{version}-sqlite-{sqlite3.sqlite_version}.db"


def seed_folder() -> Path | None:
    """A folder that belongs to the virtual environment and goes with it; None without one."""
    if sys.prefix == sys.base_prefix:
        return None
    return Path(sys.prefix) / "var" / "crossfade"


def plant_seed(seed: Path, database: Path) -> bool:
    """Copy the seed to where a server will look for its database; true if it was.

    A database that is there is left alone. A seed that can not be read is no error: the
    server migrates an empty database by itself, a few seconds slower.
    """
    if database.exists() or not seed.is_file():
        return False
    part = database.with_name(f"{database.name}.{os.getpid()}.part")
    try:
        if not _is_sound(seed):
            return False
        shutil.copyfile(seed, part)
        part.replace(database)
    except (OSError, sqlite3.Error) as error:
        _log.info("Prefect's database is made from scratch", seed=str(seed), reason=str(error))
        part.unlink(missing_ok=True)
        return False
    return True


def keep_seed(database: Path, seed: Path) -> bool:
    """Keep an emptied copy of a running server's database; true if a seed is there afterwards.

    No row but the schema's version is kept: nothing of a stack, no key, no name. A folder
    that can not be written is no error.
    """
    if seed.exists():
        return True
    part = seed.with_name(f"{seed.name}.{os.getpid()}.part")
    try:
        seed.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        with (
            contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as source,
            contextlib.closing(sqlite3.connect(part)) as copy,
        ):
            source.backup(copy)
            _empty(copy)
        part.replace(seed)
    except (OSError, sqlite3.Error) as error:
        _log.info("Prefect's database is not kept", seed=str(seed), reason=str(error))
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        return False
    return True


def _empty(copy: sqlite3.Connection) -> None:
    copy.execute("PRAGMA foreign_keys = OFF")
    names = copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (name,) in names:
        if name != _VERSION_TABLE and not name.startswith("sqlite_"):
            copy.execute(f'DELETE FROM "{name}"')  # noqa: S608 - the schema's own names
    copy.commit()
    # Deleted rows must not linger in free pages.
    copy.execute("VACUUM")
    copy.execute("PRAGMA journal_mode = DELETE")


def _is_sound(seed: Path) -> bool:
    with contextlib.closing(sqlite3.connect(f"file:{seed}?mode=ro", uri=True)) as found:
        rows = found.execute(f"SELECT count(*) FROM {_VERSION_TABLE}").fetchone()  # noqa: S608
        intact = found.execute("PRAGMA quick_check").fetchone()
    return bool(rows[0] == 1 and intact[0] == "ok")
