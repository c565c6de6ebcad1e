"""Data Docs: Great Expectations' own pages of what the suites said, a folder for each run.

``expectations`` writes them, the control server serves them; this is what both agree on.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

__all__ = ["PAGE_PATH", "RUN_FILE", "is_run_folder", "page_file", "page_of", "run_folder", "runs"]

PAGE_PATH = "/data-docs"
"""Where the control server has the page that shows them to a person."""
RUN_FILE = "run.json"
"""In a run's folder, written last: its moment, its verdict, and its suites."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_US = 253_402_300_799_999_999
"""The end of the year 9999, after which there is no date."""
_FOLDER = re.compile(r"[0-9]{8}T[0-9]{6}\.[0-9]{6}Z")
_SUITE = re.compile(r"[A-Za-z0-9_-]{1,100}")


def run_folder(docs: Path, at_us: int) -> Path:
    """Where the pages of the reconciliation of that moment (microseconds since 1970) are.

    Raises:
        ValueError: there is no such date.
    """
    if not 0 <= at_us <= _LAST_US:
        raise ValueError(f"{at_us} is no time in microseconds since 1970")
    # Not by fromtimestamp: a float has no room for the microseconds of our century.
    return docs / (_EPOCH + timedelta(microseconds=at_us)).strftime("%Y%m%dT%H%M%S.%fZ")


def is_run_folder(name: str) -> bool:
    """Whether ``run_folder`` gives names such as this."""
    return _FOLDER.fullmatch(name) is not None


def page_of(docs: Path | None, at_us: object) -> str | None:
    """Where the control server shows a run's pages, as a path; None where none are kept.

    None as well where the folder can not be read, and for what is no moment: the pages are an
    addition to a result, which must not fail for want of them.
    """
    if docs is None or not isinstance(at_us, int):
        return None
    try:
        # Of what stat may answer, is_file takes only some as "no": a folder that may not be read,
        # and a mount that is gone, are errors.
        kept = (run_folder(docs, at_us) / RUN_FILE).is_file()
    except (OSError, ValueError):
        return None
    return f"{PAGE_PATH}?at_us={at_us}" if kept else None


def page_file(docs: Path, at_us: int, suite: str) -> Path | None:
    """The file of one suite's page; None where there is none that can be read.

    Whatever the names say, it is a plain file in that run's folder, below ``docs``.
    """
    try:
        folder = run_folder(docs, at_us)
        found = folder / f"{suite}.html"
        if not _SUITE.fullmatch(suite) or found.is_symlink() or folder.is_symlink():
            return None
        return found if found.is_file() else None
    except (OSError, ValueError):
        return None


def runs(docs: Path, limit: int) -> list[dict[str, Any]]:
    """The newest runs whose pages are complete, newest first: ``{at_us, verdict, suites}``.

    Raises:
        OSError: the folder can not be read.
    """
    found: list[dict[str, Any]] = []
    for one in _documents(docs):
        found.append(one)
        if len(found) == limit:
            break
    return found


def _documents(docs: Path) -> Iterator[dict[str, Any]]:
    if not docs.is_dir():
        return
    names = (one.name for one in docs.iterdir() if is_run_folder(one.name))
    for name in sorted(names, reverse=True):
        try:
            value = orjson.loads((docs / name / RUN_FILE).read_bytes())
        except (OSError, orjson.JSONDecodeError):
            continue  # being written, or being removed
        if isinstance(value, Mapping) and isinstance(value.get("at_us"), int):
            yield dict(value)
