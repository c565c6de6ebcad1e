"""Commands: publish, tail, classify."""

import logging
import sys
from collections import Counter, defaultdict
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress
from rich.table import Table

from crossfade.cli.options import JsonOption, SettingsOption, StateOption, settings_for
from crossfade.cli.stack import run_interruptibly
from crossfade.core.classification import Classification, Classifier, Rule
from crossfade.core.continuity import Lost
from crossfade.core.event import Event, format_time
from crossfade.core.frames import encode_event
from crossfade.errors import UsageError
from crossfade.local.input_lines import STANDARD_INPUT, open_lines, parsed
from crossfade.settings import ClassificationSettings, Settings

__all__ = ["register"]

TYPES_SHOWN = 5
"""Types of a rule that `classify` names."""

FileArgument = Annotated[
    Path, typer.Argument(help="JSON lines, also compressed (.gz); - is standard input.")
]


def register(app: typer.Typer) -> None:
    """Add this module's commands to ``app``."""
    app.command()(publish)
    app.command()(tail)
    app.command()(classify)


def publish(
    file: FileArgument,
    settings: SettingsOption = None,
    state: StateOption = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", min=0.001, help="Events a second; default: as fast as it goes."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Publish a stream of JSON lines: {"id"?, "type", "time"?, "key"?, "data"}, one a line.

    Each event is durable in the journal before the next ones are read; at a line that is not
    an event it stops, and says how many before it are published. Repeating a file whose lines
    have ids is harmless: an id is published once.

    Example: tail -f events.jsonl | crossfade publish -
    """
    found = settings_for(settings, state)
    raise typer.Exit(run_interruptibly(_publish(file, found, rate, as_json)))


async def _publish(file: Path, settings: Settings, rate: float | None, as_json: bool) -> int:
    from crossfade.local.replay import LineSource, Pace, replay
    from crossfade.publisher import Publisher

    # What goes wrong for good is told in one line at the end; the rest mends itself.
    logging.basicConfig(level=logging.ERROR)
    bar = Progress(
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty() or as_json,
    )
    task = bar.add_task("published", total=None)
    count = 0

    def progress(published: int) -> None:
        nonlocal count
        count = published
        bar.update(task, completed=published)

    owed: dict[str, int] = {}
    name = "standard input" if file == STANDARD_INPUT else str(file)
    try:
        with open_lines(file) as lines, bar:
            async with Publisher(settings) as publisher:
                source = LineSource(parsed(lines, name))
                await replay(publisher, source, name, Pace(rate), progress)
                owed = await publisher.close()
    finally:
        # Also on the way out of an error or an interruption: this much is durable.
        _say_published(count, owed, as_json)
    return 0


def _say_published(count: int, owed: dict[str, int], as_json: bool) -> None:
    if as_json:
        typer.echo(orjson.dumps({"published": count, "owed": owed}).decode())
        return
    line = f"published {count:,} events"
    if owed:
        rest = ", ".join(f"{events:,} to {sink}" for sink, events in sorted(owed.items()))
        line += f"; still owed: {rest} (in the journal; the next publisher goes on)"
    typer.echo(line, err=True)


def tail(
    settings: SettingsOption = None,
    state: StateOption = None,
    key: Annotated[
        list[str] | None, typer.Option("--key", help="Only events of this key; repeatable.")
    ] = None,
    topic: Annotated[
        list[str] | None, typer.Option("--topic", help="Only this topic; repeatable.")
    ] = None,
    start: Annotated[
        str, typer.Option("--from", help="latest, or earliest: all that is still held.")
    ] = "latest",
    record: Annotated[
        Path | None,
        typer.Option("--record", help="Append every event to this file, a wire object a line."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Follow the events as a subscriber does, each in order and once, until Ctrl-C.

    Example: crossfade tail --key N711MQ --from earliest
    """
    found = settings_for(settings, state)
    if start not in ("earliest", "latest"):
        raise UsageError(f"--from {start}: must be earliest or latest")
    raise typer.Exit(
        run_interruptibly(_tail(found, key or None, topic or None, start, record, as_json))
    )


async def _tail(
    settings: Settings,
    keys: list[str] | None,
    topics: list[str] | None,
    start: str,
    record: Path | None,
    as_json: bool,
) -> int:
    from crossfade.local.recording import Recorder
    from crossfade.subscriber import Subscriber

    def lost(some: Lost) -> None:
        typer.echo(f"crossfade: lost for good: {some}", err=True)

    logging.basicConfig(level=logging.ERROR)
    with Recorder(record) if record is not None else nullcontext() as recorder:
        async with Subscriber(
            settings,
            keys=keys,
            topics=topics,
            start="earliest" if start == "earliest" else "latest",
            on_lost=lost,
        ) as subscriber:
            async for event in subscriber:
                if recorder is not None:
                    recorder.write([event])
                typer.echo(encode_event(event).decode() if as_json else _line(event))
    return 0


def _line(event: Event) -> str:
    place = f"{event.topic}/{event.partition}/{event.sequence}"
    return (
        f"{format_time(event.time_us)}  {event.type}  {event.subject or '–'}  {place}  {event.data}"
    )


def classify(
    file: FileArgument,
    settings: SettingsOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show which category and rule each event of a file would get; nothing is published.

    With the commonest types that each rule caught, and the rules that caught nothing.

    Example: crossfade classify data/flights-2013-01.jsonl.gz
    """
    chosen = settings_for(settings, state).classification
    classifier = _classifier(chosen)
    types: dict[Classification, Counter[str]] = defaultdict(Counter)
    with open_lines(file) as lines:
        for event in parsed(lines, "standard input" if file == STANDARD_INPUT else str(file)):
            types[classifier.classify(event.type, event.data)][event.type] += 1
    counts = Counter({answer: found.total() for answer, found in types.items()})
    caught = {answer.rule for answer in counts}
    unused = [rule.name for rule in chosen.rules if rule.name not in caught]
    categories: Counter[str] = Counter(dict.fromkeys(chosen.categories, 0))
    for answer, count in counts.items():
        categories[answer.category] += count
    total = counts.total()
    if as_json:
        rows = [
            {
                **answer._asdict(),
                "events": count,
                "types": [name for name, _ in types[answer].most_common(TYPES_SHOWN)],
            }
            for answer, count in counts.most_common()
        ]
        document = {
            "events": total,
            "categories": categories,
            "rules": rows,
            "unused_rules": unused,
        }
        typer.echo(orjson.dumps(document).decode())
        return
    table = Table(box=None, pad_edge=False)
    for title in ("category", "topic", "rule"):
        table.add_column(title)
    for title in ("events", "share"):
        table.add_column(title, justify="right")
    table.add_column("types", overflow="fold")
    for answer, count in counts.most_common():
        some = types[answer].most_common(TYPES_SHOWN)
        more = ", …" if len(types[answer]) > len(some) else ""
        table.add_row(
            *answer,
            f"{count:,}",
            f"{100 * count / total:.1f} %",
            ", ".join(name for name, _ in some) + more,
        )
    table.add_row("all", "", "", f"{total:,}", "", "", style="bold")
    Console().print(table)
    empty = [name for name, count in categories.items() if not count]
    if empty:
        typer.echo(f"categories without an event: {', '.join(empty)}")
    if unused:
        typer.echo(f"rules that caught nothing: {', '.join(unused)}")


def _classifier(settings: ClassificationSettings) -> Classifier:
    return Classifier(
        [Rule(**rule.model_dump()) for rule in settings.rules],
        categories=settings.categories,
        heuristics=settings.heuristics,
        default=settings.default,
    )
