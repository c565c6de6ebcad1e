"""Great Expectations' own pages (Data Docs) of what its suites said, as files in a folder.

They show each expectation with its reason, what was observed and examples. A page is one file
without scripts and without anything from the network, so that it may be shown to anybody, and
kept.
"""

import re
from html import escape
from pathlib import Path
from shutil import rmtree
from typing import Any

import orjson

from crossfade.core.verdict import Verdict
from crossfade.data_docs import RUN_FILE, is_run_folder, run_folder
from expectations.engine import page_of

__all__ = ["RUNS_KEPT", "still", "write_pages"]

RUNS_KEPT = 100
"""Folders of earlier runs that are kept; the oldest go first."""

_ACTIVE = re.compile(
    r"<script\b.*?</script\s*>|<style\b.*?</style\s*>|<footer\b.*?</footer\s*>|<link\b[^>]*>"
    r"|<img\b[^>]*>|<!--.*?-->",
    re.DOTALL | re.IGNORECASE,
)
_BANNER = re.compile(r"<nav class=\"navbar navbar-expand.*?</nav>\s*</div>\s*</nav>", re.DOTALL)
_BUTTONS = re.compile(r"<div class=\"card mb-3\">.*?(?=<div class=\"card d-md-block)", re.DOTALL)
_ATTRIBUTES = re.compile(r"\s(?:on\w+|style|data-[\w-]+|integrity)\s*=\s*(?:\"[^\"]*\"|'[^']*')")
_STYLE = (Path(__file__).parent / "docs.css").read_text(encoding="utf-8")


def write_pages(docs: Path, at_us: int, results: dict[str, Any], verdict: Verdict) -> Path:
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
    folder = run_folder(docs, at_us)
    folder.mkdir(parents=True, exist_ok=True)
    lines, suites = [], []
    for name, result in results.items():
        page = still(page_of(result), name)
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
        held = sum(bool(one.success) for one in result.results)
        suites.append({"suite": name, "expectations": len(result.results), "held": held})
        lines.append(
            f'<li><a href="{escape(name)}.html">{escape(name)}</a>: {held} of '
            f"{len(result.results)} expectations hold</li>"
        )
    index = folder / "index.html"
    title = f"Suites of {escape(folder.name)}: {escape(verdict.value)}"
    index.write_text(_document(title, f"<h1>{title}</h1><ul>{''.join(lines)}</ul>"), "utf-8")
    run = {"at_us": at_us, "verdict": verdict.value, "suites": suites}
    (folder / RUN_FILE).write_bytes(orjson.dumps(run))
    # Only what was written here: the folder may hold other things, and lead to other places.
    kept = sorted(
        one
        for one in docs.iterdir()
        if is_run_folder(one.name) and one.is_dir() and not one.is_symlink()
    )
    for old in kept[:-RUNS_KEPT]:
        rmtree(old)
    return index


def still(page: str, title: str) -> str:
    """What a page of Great Expectations says, without its scripts, its banner and the network."""
    body = page[page.index("<body") :].removesuffix("</html>\n")
    for pattern in (_ACTIVE, _BANNER, _BUTTONS, _ATTRIBUTES):
        body = pattern.sub("", body)
    body = body[body.index(">") + 1 :].partition("</body>")[0]
    return _document(escape(title), f'<p><a href="index.html">All suites</a></p>{body}')


def _document(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        # Examples are of events, and events hold what anybody may have written.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    )
