"""Commands: publish, tail, classify."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table

from crossfade.cli.options import JsonOption, SettingsOption, StateOption, settings_for
from crossfade.core.classification import Classifier, Rule
from crossfade.local.input_lines import open_lines, parsed
from crossfade.settings import ClassificationSettings

__all__ = ["register"]

FileArgument = Annotated[
    Path, typer.Argument(help="JSON lines, also compressed (.gz); - is standard input.")
]


def register(app: typer.Typer) -> None:
    """Add this module's commands to ``app``."""
    app.command()(classify)


def classify(
    file: FileArgument,
    settings: SettingsOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show which category and rule each event of a file would get; nothing is published.

    Example: crossfade classify data/flights-2013-01.jsonl.gz
    """
    classifier = _classifier(settings_for(settings, state).classification)
    counts: Counter[tuple[str, str, str]] = Counter()
    with open_lines(file) as lines:
        for event in parsed(lines, str(file)):
            counts[tuple(classifier.classify(event.type, event.data))] += 1  # type: ignore[index]
    total = sum(counts.values())
    if as_json:
        rows = [
            {"category": category, "topic": topic, "rule": rule, "events": count}
            for (category, topic, rule), count in counts.most_common()
        ]
        typer.echo(orjson.dumps({"events": total, "rules": rows}).decode())
        return
    table = Table(box=None, pad_edge=False)
    for title in ("category", "topic", "rule"):
        table.add_column(title)
    for title in ("events", "share"):
        table.add_column(title, justify="right")
    for (category, topic, rule), count in counts.most_common():
        table.add_row(category, topic, rule, f"{count:,}", f"{100 * count / total:.1f} %")
    table.add_row("all", "", "", f"{total:,}", "", style="bold")
    Console().print(table)


def _classifier(settings: ClassificationSettings) -> Classifier:
    return Classifier(
        [Rule(**rule.model_dump()) for rule in settings.rules],
        categories=settings.categories,
        heuristics=settings.heuristics,
        default=settings.default,
    )
