"""Counts: every compared stream, in every store, adds up to what it must.

The table has a row per stream and store with the number of events and the sum of their
content hashes, expected and held. It is a second path to the comparison's conclusion: it
knows sums only, and shares no code with the classification of rows.
"""

from collections.abc import Iterator

import pandas as pd

from crossfade.core.digest import total_to_hex
from crossfade.core.reconciliation import Evidence
from crossfade.core.verdict import Verdict
from expectations.engine import Column, gxe
from expectations.rule import Material, Rule

__all__ = ["SUITE", "frame", "rules"]

SUITE = "counts"

_COLUMNS = [
    "topic", "partition", "category", "store", "blocks", "expected", "held", "expected_total",
    "held_total",
]  # fmt: skip


def frame(material: Material) -> pd.DataFrame:
    """A row per stream and store; the totals as text, since they need all 64 bits."""
    evidence = material.reconciliation.evidence
    rollups = evidence.rollups if evidence else ()
    rows = [
        (*row[:7], total_to_hex(row.expected_total), total_to_hex(row.held_total))
        for row in rollups
    ]
    names = [f"{row.topic}/{row.partition} in {row.store}" for row in rollups]
    return pd.DataFrame(rows, columns=_COLUMNS, index=pd.Index(names, dtype="object"))


def rules(material: Material) -> Iterator[Rule]:
    """The expectations; only called with evidence, since without it there is no row."""
    result = material.reconciliation
    evidence = result.evidence
    stores = evidence.stores if evidence else ()
    yield Rule(
        "table-is-complete",
        "there is a row for each compared stream in each store: a table that lost rows would "
        "pass everything else",
        gxe.ExpectTableRowCountToEqual(value=result.blocks.streams * len(stores)),
    )
    in_journal = Column("store") == "journal"
    yield Rule(
        "blocks-are-all-there",
        "the streams' blocks add up to the blocks that the run set out to compare",
        _sums_to("blocks", result.blocks.checked, in_journal),
    )
    yield Rule(
        "events-are-all-there",
        "the journal's sequences add up to the events that the run says it compared",
        _sums_to("expected", result.checked_events, in_journal),
    )
    yield Rule(
        "something-was-compared",
        "a run that compared nothing proves nothing",
        gxe.ExpectColumnSumToBeBetween(column="expected", min_value=1, row_condition=in_journal),
        on_failure=Verdict.INCONCLUSIVE,
    )
    for store in stores:
        yield from _store_rules(store, evidence)


def _store_rules(store: str, evidence: Evidence | None) -> Iterator[Rule]:
    exact = list(evidence.exact if evidence else ())
    for pair, what in (("", "as many events as"), ("_total", "the content that")):
        for strict in (True, False):
            category = Column("category")
            which = category.is_in(exact) if strict else category.is_not_in(exact)
            yield Rule(
                f"{store}-{'content' if pair else 'count'}-{'exact' if strict else 'tolerated'}",
                f"{store} holds {what} it must"
                + ("" if strict else "; the suite contents says how much may differ"),
                gxe.ExpectColumnPairValuesToBeEqual(
                    column_A=f"expected{pair}",
                    column_B=f"held{pair}",
                    row_condition=(Column("store") == store) & which,
                ),
                on_failure=Verdict.FAIL if strict else Verdict.PASS,
            )


def _sums_to(column: str, value: int, condition: object) -> object:
    return gxe.ExpectColumnSumToBeBetween(
        column=column, min_value=value, max_value=value, row_condition=condition
    )
