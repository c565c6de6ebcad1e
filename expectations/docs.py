"""Great Expectations' own pages (Data Docs) of what its suites said, as files in a folder.

They show each expectation with its reason, what was observed and examples. Their style sheets come
from the network; without it they are plain, and whole.
"""

from datetime import UTC, datetime
from html import escape
from pathlib import Path
from shutil import rmtree
from typing import Any

from expectations.engine import page_of

__all__ = ["RUNS_KEPT", "pages_folder", "write_pages"]

RUNS_KEPT = 100
"""Folders of earlier runs that are kept; the oldest go first."""


def pages_folder(docs: Path, at_us: int) -> Path:
    """Where the pages of the reconciliation of that moment are."""
    return docs / datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def write_pages(docs: Path, at_us: int, results: dict[str, Any], verdict: str) -> Path:
    """Write a page for each suite and one that lists them, and drop the oldest runs' pages.

    Args:
        at_us: the reconciliation's moment.
        results: Great Expectations' result of each suite, by the suite's name.
        verdict: of all suites, for the list.

    Returns:
        The page that lists them.

    Raises:
        OSError: the folder can not be written.
    """
    folder = pages_folder(docs, at_us)
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, result in results.items():
        (folder / f"{name}.html").write_text(page_of(result), encoding="utf-8")
        held = sum(bool(one.success) for one in result.results)
        lines.append(
            f'<li><a href="{escape(name)}.html">{escape(name)}</a>: {held} of '
            f"{len(result.results)} expectations hold</li>"
        )
    index = folder / "index.html"
    index.write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Suites</title>'
        f"<h1>Suites of {escape(folder.name)}: {escape(verdict)}</h1><ul>{''.join(lines)}</ul>",
        encoding="utf-8",
    )
    runs = sorted(one for one in docs.iterdir() if one.is_dir() and one.name.endswith("Z"))
    for old in runs[:-RUNS_KEPT]:
        rmtree(old)
    return index
