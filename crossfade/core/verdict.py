"""What a check concluded, and how conclusions fold."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Measurement", "Verdict", "worst"]


class Verdict(StrEnum):
    """PASS, FAIL, INCONCLUSIVE (no or too little evidence) or ERROR (the check itself broke)."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


_ORDER = (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.ERROR, Verdict.FAIL)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Fold verdicts: FAIL > ERROR > INCONCLUSIVE > PASS; nothing at all is INCONCLUSIVE (I7)."""
    return max(verdicts, key=_ORDER.index, default=Verdict.INCONCLUSIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One figure against its limit.

    ``value`` is None when there was nothing to measure; ``n`` is the number of
    observations behind it; ``unit`` is ``%``, ``ms``, ``events`` and the like;
    ``relation`` says how value must stand to limit for a PASS (``<=``, ``>=``, ``==``).
    """

    name: str
    value: float | None
    limit: float | None
    n: int
    unit: str
    verdict: Verdict
    relation: str = "<="
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        """The measurement as JSON values."""
        return {
            "name": self.name,
            "value": self.value,
            "limit": self.limit,
            "n": self.n,
            "unit": self.unit,
            "verdict": self.verdict.value,
            "relation": self.relation,
            "detail": self.detail,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Measurement":
        """Read what ``to_json`` wrote."""
        return cls(**{**value, "verdict": Verdict(value["verdict"])})
