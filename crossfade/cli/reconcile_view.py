"""How a reconciliation is shown to a person: tables, findings, one event side by side.

Apart from the command, which a machine runs every few minutes and for which ``rich`` is only a
tenth of a second.
"""

import sys

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crossfade.core.reconciliation import Kind, Reconciliation
from crossfade.data_docs import page_of, run_folder
from crossfade.explain import Explanation, row_to_json
from crossfade.settings import Settings

__all__ = ["show", "show_docs", "show_explanation"]


def show(result: Reconciliation, *, agree: bool) -> None:
    """The stores' figures, every discrepancy that is named, and the verdict."""
    console = Console()
    if result.stores:
        console.print(_stores_table(result, console.width))
    for name, text in result.errors.items():
        console.print(f"{name}: {text}", style="red", markup=False, soft_wrap=True)
    for one in result.discrepancies:
        console.print(
            f"{one.kind.value.replace('_', ' ')} in {one.store}: {one.position}  {one.type}  "
            f"[{one.severity}] {one.detail}",
            style="red" if one.severity == "critical" else "yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    for gap in result.gaps:
        said = gap.to_json()
        console.print(
            f"not seen by the tap, accepted by {said['by']}: {said['range']}  {said['reason']}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    more = result.discrepancy_count - len(result.discrepancies)
    if more > 0:
        console.print(f"… and {more:,} more")
    blocks = result.blocks
    console.print(
        f"{result.verdict.value.upper()}: {result.checked_events:,} events in {blocks.checked:,} "
        f"blocks compared in {result.duration_ms / 1000:.2f} s, {blocks.differing:,} blocks "
        f"differ, {blocks.sealed:,} sealed, {result.discrepancy_count:,} discrepancies",
        style="green" if agree else "bold",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _stores_table(result: Reconciliation, width: int) -> Table:
    """A row per store, or a column where its figures would not fit into so many characters.

    Of the kinds of discrepancy only those that occur.
    """
    found = [
        kind.value
        for kind in Kind
        if any(getattr(count, kind.value) for count in result.stores.values())
    ]
    if any(count.accepted for count in result.stores.values()):
        found.append("accepted")
    names = ["expected", "present", *found, "in_flight"]
    rows = [[Text("store"), *(Text(name.replace("_", " ")) for name in names)]]
    for store, count in result.stores.items():
        live = store == "realtime"
        cells = [Text("realtime (live)" if live else store)]
        for name in names:
            value = int(getattr(count, name))
            wrong = name in found and name != "accepted" and value and not live
            cells.append(Text(f"{value:,}", style="red" if wrong else ""))
        rows.append(cells)
    columns = list(zip(*rows, strict=True))
    if sum(max(len(cell) for cell in column) + 2 for column in columns) > width:
        rows = [list(column) for column in columns]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(rows[0]):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for row in rows[1:]:
        table.add_row(*row)
    return table


def show_docs(result: Reconciliation, settings: Settings) -> None:
    """What the suites concluded, and where their pages are."""
    for suite in result.suites:
        held = suite.expectations - len(suite.failed)
        sys.stdout.write(
            f"suite {suite.suite}: {suite.verdict.value}, {held} of {suite.expectations} "
            "expectations hold\n"
        )
        for line in suite.failed:
            sys.stdout.write(f"  {line}\n")
    folder = settings.reconcile.docs
    if folder is None:
        return
    served = page_of(folder, result.at_us)
    if served is None:
        sys.stderr.write(f"crossfade: no pages can be read in reconcile.docs: {folder}\n")
        return
    sys.stdout.write(f"pages: {run_folder(folder, result.at_us) / 'index.html'}\n")
    sys.stdout.write(f"served at {settings.control.url.rstrip('/')}{served}\n")


def show_explanation(found: Explanation) -> None:
    """One event as each store holds it, and what is wrong with it."""
    console = Console()
    table = Table(title=_plain(found.position), title_justify="left", show_lines=True)
    table.add_column("")
    columns = [
        (store if not index else f"{store}, again", row_to_json(row))
        for store, rows in found.rows.items()
        for index, row in enumerate(rows)
    ]
    for name, _ in columns:
        table.add_column(name, overflow="fold")
    for field in columns[0][1] if columns else ():
        values = (row[field] for _, row in columns)
        table.add_row(field.replace("_", " "), *(_plain(value) for value in values))
    if columns:
        console.print(table)
    for store, rows in found.rows.items():
        if not rows:
            console.print(f"{store}: does not hold it", markup=False, highlight=False)
    for name, text in found.errors.items():
        console.print(f"{name}: {text}", style="red", markup=False, soft_wrap=True)
    for note in found.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    for one in found.discrepancies:
        console.print(
            f"{one.kind.value.replace('_', ' ')} in {one.store}: {one.detail}",
            style="red",
            markup=False,
            soft_wrap=True,
        )
    if found.is_judged and not found.discrepancies:
        console.print("no discrepancy", style="green")


def _plain(value: object) -> Text:
    """A cell as it is: no markup, and nothing that a terminal would obey."""
    text = "–" if value is None else str(value)
    return Text("".join(one if one.isprintable() else "\ufffd" for one in text))
