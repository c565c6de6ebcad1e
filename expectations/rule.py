"""What a suite is made of: what it judges, and its rules."""

from dataclasses import dataclass
from typing import Any

from crossfade.core.reconciliation import Reconciliation
from crossfade.core.verdict import Measurement, Verdict

__all__ = ["Material", "Rule"]


@dataclass(frozen=True, slots=True)
class Material:
    """What the suites judge: a reconciliation and, if there are any, a stage's measurements."""

    reconciliation: Reconciliation
    measurements: tuple[Measurement, ...] | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One expectation of a suite.

    ``name`` is unique in its suite; ``reason`` says why it is expected, in a sentence that is
    shown when it fails; ``expectation`` is one of ``great_expectations.expectations``.
    ``on_failure`` is the verdict that its failure means: FAIL, INCONCLUSIVE when it is evidence
    that lacks, or PASS for a warning that is shown and decides nothing.
    """

    name: str
    reason: str
    expectation: Any
    on_failure: Verdict = Verdict.FAIL
