"""Contents: which kinds of discrepancy there may be, and in which categories.

The table has a row per category with the number of discrepancies of each kind in all stores.
"""

from collections.abc import Iterator

import pandas as pd

from crossfade.core.reconciliation import UNDECIDED, Kind, severity_of
from crossfade.core.verdict import Verdict
from expectations.engine import Column, gxe
from expectations.rule import Material, Rule

__all__ = ["REASONS", "SUITE", "frame", "rules"]

SUITE = "contents"

REASONS = {
    Kind.MISSING: "an event that was published and is not in a store is lost to whoever reads it",
    Kind.DUPLICATED: "a delivery that is repeated is processed twice by whoever does not look",
    Kind.ALTERED: "a store that holds another content tells its readers something untrue",
    Kind.RESERIALISED: "the publisher's bytes travel unchanged; what re-forms them needs a codec",
    Kind.STALE_HASH: "a hash that is not that of the content can vouch for nothing",
    Kind.PHANTOM: "an event that nobody published came from somewhere else, or the journal lost it",
    Kind.OUT_OF_ORDER: "within a stream the order is a promise; later state must not be overtaken",
}


def frame(material: Material) -> pd.DataFrame:
    """A row per category that has expected events or discrepancies."""
    result = material.reconciliation
    evidence = result.evidence
    exact = evidence.exact if evidence else ("critical",)
    rows = []
    for category, count in result.categories.items():
        kinds = {kind.value: count.kinds.get(kind, 0) for kind in Kind}
        wrong = count.discrepancies - sum(kinds[kind.value] for kind in UNDECIDED)
        rows.append(
            {
                "category": category,
                "severity": severity_of(category, exact),
                "expected": count.expected,
                "share": wrong / max(count.expected, 1),
                "tolerance": evidence.tolerance_of(category) if evidence else 0.0,
                "total": count.discrepancies,
                **kinds,
            }
        )
    return pd.DataFrame(rows, index=pd.Index(list(result.categories), dtype="object"))


def rules(material: Material) -> Iterator[Rule]:
    """One expectation per kind; severity by category."""
    result = material.reconciliation
    yield Rule(
        "table-is-complete",
        "every category of the result has its row: one that lacks would be right by itself",
        gxe.ExpectTableRowCountToEqual(value=len(result.categories)),
    )
    yield Rule(
        "all-are-counted",
        "the kinds add up to the number of discrepancies that the run reports",
        gxe.ExpectColumnSumToBeBetween(
            column="total", min_value=result.discrepancy_count, max_value=result.discrepancy_count
        ),
    )
    critical = Column("severity") == "critical"
    for kind, reason in REASONS.items():
        yield Rule(
            f"no-{kind.value.replace('_', '-')}-critical",
            reason,
            gxe.ExpectColumnSumToBeBetween(column=kind.value, max_value=0, row_condition=critical),
        )
    yield Rule(
        "others-within-tolerance",
        "elsewhere a share of a category's events may differ (reconcile.tolerance, tolerances)",
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A="tolerance",
            column_B="share",
            or_equal=True,
            row_condition=Column("severity") != "critical",
        ),
    )
    yield Rule(
        "nothing-is-late",
        "what the publisher still owes is not lost, and not yet proven to arrive",
        gxe.ExpectColumnSumToBeBetween(column=Kind.LATE.value, max_value=0),
        on_failure=Verdict.INCONCLUSIVE,
    )
    yield Rule(
        "everything-was-covered",
        "what was published while the tap was not connected is neither proven nor lost",
        gxe.ExpectColumnSumToBeBetween(column=Kind.UNCOVERED.value, max_value=0),
        on_failure=Verdict.INCONCLUSIVE,
    )
