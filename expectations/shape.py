"""Shape: types, ranges, required fields, known categories and topics of a batch of events.

The batch are the newest events of the journal. That the other stores hold the same is the
comparison's business, so what is true of these is true of all of them.
"""

from collections.abc import Iterator

import pandas as pd

from crossfade.core.verdict import Verdict
from expectations.engine import Column, gxe
from expectations.rule import Material, Rule

__all__ = ["SUITE", "frame", "rules"]

SUITE = "shape"

EARLIEST_US = 946_684_800_000_000
"""2000-01-01: an earlier time is a clock that was never set."""
AHEAD_US = 86_400_000_000
"""A day: an event may lie in the future (a planned departure says so in its content, not its time)
by no more than zones and clocks can explain."""

_REQUIRED = ("id", "source", "type", "time_us", "subject", "category", "topic", "data")
_NUMBERS = {"time_us": "int64", "epoch": "int64", "partition": "int64", "sequence": "int64"}
_COLUMNS = [
    "id", "source", "type", "time_us", "subject", "category", "topic", "partition", "epoch",
    "sequence", "data",
]  # fmt: skip


def frame(material: Material) -> pd.DataFrame:
    """A row per sampled event, named by its position."""
    evidence = material.reconciliation.evidence
    events = evidence.sample if evidence else ()
    table = pd.DataFrame(
        [[getattr(event, name) for name in _COLUMNS] for event in events],
        columns=_COLUMNS,
        index=pd.Index([str(event.position) for event in events], dtype="object"),
    )
    table["bytes"] = [len(str(event.data).encode(errors="replace")) for event in events]
    table["intact"] = ["yes" if event.is_intact() else "no" for event in events]
    return table


def rules(material: Material) -> Iterator[Rule]:
    """The expectations; only called with a sample, since without it there is no row."""
    result = material.reconciliation
    evidence = result.evidence
    if evidence is None:
        return
    yield Rule(
        "batch-is-complete",
        "every sampled event has its row",
        gxe.ExpectTableRowCountToEqual(value=len(evidence.sample)),
    )
    for name in _REQUIRED:
        yield Rule(
            f"{name}-is-there",
            f"CloudEvents and Crossfade's extensions require {name}",
            gxe.ExpectColumnValuesToNotBeNull(column=name),
        )
    for name, kind in _NUMBERS.items():
        yield Rule(
            f"{name}-is-an-integer",
            "positions and times are integers; anything else in the column is a damaged row",
            gxe.ExpectColumnValuesToBeOfType(column=name, type_=kind),
        )
    yield Rule(
        "id-is-unique",
        "an id names one event; stores refuse a second one",
        gxe.ExpectColumnValuesToBeUnique(column="id"),
    )
    yield Rule(
        "sequence-counts-from-1",
        "sequences are gapless from 1, so none is smaller",
        gxe.ExpectColumnValuesToBeBetween(column="sequence", min_value=1),
    )
    yield Rule(
        "partition-is-a-number",
        "partitions count from 0",
        gxe.ExpectColumnValuesToBeBetween(column="partition", min_value=0),
    )
    yield Rule(
        "time-is-plausible",
        "a time before 2000 or more than a day ahead comes from a clock that is wrong",
        gxe.ExpectColumnValuesToBeBetween(
            column="time_us", min_value=EARLIEST_US, max_value=result.at_us + AHEAD_US
        ),
    )
    yield Rule(
        "type-is-a-name",
        "subscribers choose by type: it has no blanks and no control characters",
        gxe.ExpectColumnValuesToMatchRegex(column="type", regex=r"\A[^\s\x00-\x1f]+\Z"),
    )
    yield Rule(
        "category-is-known",
        "a category that is not configured has no percentage, no severity and no target",
        gxe.ExpectColumnValuesToBeInSet(column="category", value_set=list(evidence.categories)),
    )
    yield Rule(
        "topic-has-its-category",
        "a topic belongs to one category; it is routed by it",
        gxe.ExpectColumnPairValuesToBeInSet(
            column_A="topic",
            column_B="category",
            value_pairs_set=list(evidence.topics.items()),
            row_condition=Column("topic").is_in(list(evidence.topics)),
        ),
    )
    yield Rule(
        "topic-is-configured",
        "a topic that the settings do not name is routed like a category of its own name",
        gxe.ExpectColumnValuesToBeInSet(column="topic", value_set=list(evidence.topics)),
        on_failure=Verdict.PASS,
    )
    yield Rule(
        "data-is-json",
        "the content is JSON text; whatever else it is, no subscriber can read it",
        gxe.ExpectColumnValuesToBeJsonParseable(column="data"),
    )
    yield Rule(
        "data-has-a-size",
        "the publisher takes no empty content and none above publisher.max_event_bytes",
        gxe.ExpectColumnValuesToBeBetween(
            column="bytes", min_value=1, max_value=evidence.max_event_bytes
        ),
    )
    yield Rule(
        "checksum-is-of-the-content",
        "the journal's own rows must have the hash that travelled with them",
        gxe.ExpectColumnValuesToBeInSet(column="intact", value_set=["yes"]),
    )
