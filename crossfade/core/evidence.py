"""What the checks of one stage and attempt showed, as a document with a hash."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crossfade.core.canonical import canonical_json
from crossfade.core.verdict import Measurement, Verdict, worst

__all__ = ["GUARDRAILS", "RECONCILED", "Evidence", "breach", "describe"]

GUARDRAILS = (
    "breaker",
    "error_rate_sustained",
    "latency_ratio_sustained",
    "lost",
    "reconciliation",
)
"""Measurements whose FAIL calls for a rollback at once; any other FAIL holds the stage."""

RECONCILED = ("reconciliation", "delivery")
"""Measurements that only a reconciliation can give: absent while a stage still soaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All measurements of one attempt of one stage, as of ``at_us``.

    Only what happened from ``since_us`` on counts: evidence of an earlier stage or attempt
    is never taken over. ``required`` names the measurements without which nothing passes
    (I7); ``reconciliation`` is a summary of the one that counted, or None.
    """

    rollout: str
    stage: int
    attempt: int
    since_us: int
    at_us: int
    measurements: tuple[Measurement, ...] = ()
    required: tuple[str, ...] = ()
    reconciliation: Mapping[str, Any] | None = None
    hash: str = field(init=False)

    def __post_init__(self) -> None:
        text = canonical_json(self._body())
        object.__setattr__(self, "hash", hashlib.sha256(text.encode()).hexdigest())

    @property
    def verdict(self) -> Verdict:
        """The worst of the measurements; a required one that is missing is INCONCLUSIVE."""
        return self._fold(self.measurements, self.required)

    @property
    def soak_verdict(self) -> Verdict:
        """The verdict without what only a reconciliation can give."""
        return self._fold(
            tuple(one for one in self.measurements if one.name not in RECONCILED),
            tuple(name for name in self.required if name not in RECONCILED),
        )

    @staticmethod
    def _fold(measurements: tuple[Measurement, ...], required: tuple[str, ...]) -> Verdict:
        names = {one.name for one in measurements}
        missing = [Verdict.INCONCLUSIVE for name in required if name not in names]
        return worst([one.verdict for one in measurements] + missing)

    def get(self, name: str) -> Measurement | None:
        """The measurement of that name, or None."""
        return next((one for one in self.measurements if one.name == name), None)

    def explain(self, *verdicts: Verdict) -> str:
        """One line: which measurements have one of ``verdicts``, with value, limit and n."""
        names = {one.name for one in self.measurements}
        parts = [describe(one) for one in self.measurements if one.verdict in verdicts]
        if Verdict.INCONCLUSIVE in verdicts:
            parts += [f"{name}: not measured" for name in self.required if name not in names]
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The document as JSON values."""
        return {"hash": self.hash, "verdict": self.verdict.value, **self._body()}

    def _body(self) -> dict[str, Any]:
        return {
            "rollout": self.rollout,
            "stage": self.stage,
            "attempt": self.attempt,
            "since_us": self.since_us,
            "at_us": self.at_us,
            "measurements": [one.to_json() for one in self.measurements],
            "required": list(self.required),
            "reconciliation": None if self.reconciliation is None else dict(self.reconciliation),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Evidence":
        """Read what ``to_json`` wrote.

        Raises:
            KeyError, TypeError: when it is not such a document.
            ValueError: when the document does not have the hash that it names.
        """
        found = cls(
            rollout=value["rollout"],
            stage=value["stage"],
            attempt=value["attempt"],
            since_us=value["since_us"],
            at_us=value["at_us"],
            measurements=tuple(Measurement.from_json(one) for one in value["measurements"]),
            required=tuple(value["required"]),
            reconciliation=value["reconciliation"],
        )
        if found.hash != value["hash"]:
            raise ValueError(f"evidence {value['hash']} was altered: its hash is {found.hash}")
        return found


def breach(evidence: Evidence) -> tuple[Measurement, ...]:
    """The measurements that call for a rollback at once; empty when none does."""
    return tuple(
        one
        for one in evidence.measurements
        if one.name in GUARDRAILS and one.verdict is Verdict.FAIL
    )


def describe(measurement: Measurement) -> str:
    """``name value unit (limit relation limit, n=…): detail`` in one line."""
    unit = f" {measurement.unit}" if measurement.unit else ""
    value = "no value" if measurement.value is None else f"{measurement.value:g}{unit}"
    limit = (
        ""
        if measurement.limit is None
        else f"must be {measurement.relation} {measurement.limit:g}{unit}, "
    )
    detail = f": {measurement.detail}" if measurement.detail else ""
    return f"{measurement.name} {value} ({limit}n={measurement.n}){detail}"
