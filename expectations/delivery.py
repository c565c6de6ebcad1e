"""Delivery: a stage's measurements against its targets.

Each measurement has been judged where it was made, with the statistics it needs. This suite
holds the judgements together: none failed, none lacks, and none says PASS of a value on the
wrong side of its limit.
"""

from collections.abc import Iterator

import pandas as pd

from crossfade.core.verdict import Verdict
from expectations.engine import Column, gxe
from expectations.rule import Material, Rule

__all__ = ["SUITE", "frame", "rules"]

SUITE = "delivery"

RELATIONS = ("<=", ">=", "==")
_COLUMNS = ["name", "value", "limit", "n", "unit", "verdict", "relation"]


def frame(material: Material) -> pd.DataFrame | None:
    """A row per measurement; None when none were handed over."""
    if material.measurements is None:
        return None
    table = pd.DataFrame(
        [[getattr(one, name) for name in _COLUMNS] for one in material.measurements],
        columns=_COLUMNS,
        index=pd.Index([one.name for one in material.measurements], dtype="object"),
    )
    table["verdict"] = [one.verdict.value for one in material.measurements]
    return table.astype({"value": "float64", "limit": "float64"})


def rules(material: Material) -> Iterator[Rule]:
    """The expectations."""
    yield Rule(
        "table-is-complete",
        "every measurement has its row",
        gxe.ExpectTableRowCountToEqual(value=len(material.measurements or ())),
    )
    yield Rule(
        "names-are-unique",
        "a measurement that stands there twice hides one that lacks",
        gxe.ExpectColumnValuesToBeUnique(column="name"),
    )
    yield Rule(
        "none-failed",
        "a target that is missed stops the stage",
        gxe.ExpectColumnValuesToNotBeInSet(column="verdict", value_set=["fail"]),
    )
    yield Rule(
        "none-broke",
        "a measurement that could not be made says nothing of the system",
        gxe.ExpectColumnValuesToNotBeInSet(column="verdict", value_set=["error"]),
        on_failure=Verdict.ERROR,
    )
    yield Rule(
        "all-are-conclusive",
        "too little evidence can hold a stage, never promote it",
        gxe.ExpectColumnValuesToNotBeInSet(column="verdict", value_set=["inconclusive"]),
        on_failure=Verdict.INCONCLUSIVE,
    )
    passed = Column("verdict") == "pass"
    yield Rule(
        "passed-with-a-value",
        "a PASS without a value is a PASS without evidence",
        gxe.ExpectColumnValuesToNotBeNull(column="value", row_condition=passed),
        on_failure=Verdict.INCONCLUSIVE,
    )
    yield Rule(
        "passed-with-observations",
        "a PASS of no observations is a PASS without evidence",
        gxe.ExpectColumnValuesToBeBetween(column="n", min_value=1, row_condition=passed),
        on_failure=Verdict.INCONCLUSIVE,
    )
    yield Rule(
        "relations-are-known",
        "a relation that nobody knows is compared by nobody",
        gxe.ExpectColumnValuesToBeInSet(column="relation", value_set=list(RELATIONS)),
        on_failure=Verdict.ERROR,
    )
    for relation in RELATIONS:
        yield Rule(
            f"passed-with-{_NAMES[relation]}",
            f"a PASS says that the value is {relation} its limit",
            _compared(relation, passed & (Column("relation") == relation)),
        )


_NAMES = {"<=": "at-most-its-limit", ">=": "at-least-its-limit", "==": "its-limit"}


def _compared(relation: str, condition: object) -> object:
    given = {"ignore_row_if": "either_value_is_missing", "row_condition": condition}
    if relation == "==":
        return gxe.ExpectColumnPairValuesToBeEqual(column_A="value", column_B="limit", **given)
    high, low = ("limit", "value") if relation == "<=" else ("value", "limit")
    return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
        column_A=high, column_B=low, or_equal=True, **given
    )
