"""What a reconciliation found (docs/protocol.md section 8), and what it concludes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from crossfade.core.event import Event
from crossfade.core.gaps import Gap
from crossfade.core.verdict import Verdict, worst

__all__ = [
    "CRITICAL",
    "MAX_DISCREPANCIES",
    "STORES",
    "UNDECIDED",
    "WARNING",
    "Blocks",
    "CategoryCount",
    "Discrepancy",
    "Evidence",
    "Kind",
    "Reconciliation",
    "Rollup",
    "StoreCount",
    "SuiteResult",
    "conclude",
    "severity_of",
]

STORES = ("journal", "websocket", "supabase")
"""The stores that are held against each other; ``realtime`` is only counted."""
MAX_DISCREPANCIES = 1_000
"""So many discrepancies are named one by one; all are counted."""
CRITICAL = "critical"
WARNING = "warning"


class Kind(StrEnum):
    """The kinds of discrepancy.

    Missing: expected here, not held, and the publisher counts it as delivered (or refused).
    Late: not held, but the publisher still owes it and will send it. Duplicated: delivered
    more than once. Altered: the content is not that of the other stores. Reserialised: it is the
    same JSON value in another form, so its bytes have another hash. Stale hash: the
    content is right, but the checksum beside it (or the database's own hash of it) is not that
    of the content. Phantom: held here, but never journalled. Out of order: first delivered
    after a later sequence (RFC 4737's reordered). Uncovered: not recorded, and the tap was not
    connected when it was published, so nobody knows.
    """

    MISSING = "missing"
    LATE = "late"
    DUPLICATED = "duplicated"
    ALTERED = "altered"
    RESERIALISED = "reserialised"
    STALE_HASH = "stale_hash"
    PHANTOM = "phantom"
    OUT_OF_ORDER = "out_of_order"
    UNCOVERED = "uncovered"


UNDECIDED = (Kind.LATE, Kind.UNCOVERED)
"""What may yet turn out well: INCONCLUSIVE, never a FAIL."""


def severity_of(category: str, exact: Iterable[str]) -> str:
    """``critical`` for the categories that must be exact, else ``warning``."""
    return CRITICAL if category in exact else WARNING


class Discrepancy(NamedTuple):
    """One event that one store holds wrongly, or lacks."""

    kind: Kind
    store: str
    position: str
    id: str
    type: str
    category: str
    severity: str
    detail: str

    def to_json(self) -> dict[str, Any]:
        """The discrepancy as JSON values."""
        return {**self._asdict(), "kind": self.kind.value}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Discrepancy":
        """Read what ``to_json`` wrote."""
        return cls(**{**value, "kind": Kind(value["kind"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCount:
    """One store's figures, in events.

    ``expected`` and ``present`` cover everything up to the watermark, sealed blocks too;
    ``in_flight`` are expected and younger than the grace, so not judged yet; ``accepted`` were
    not recorded while the tap was not connected, and a person took that for settled; ``foreign``
    are streams (not events) of other sources or epochs, which this journal says nothing of.
    """

    expected: int = 0
    present: int = 0
    missing: int = 0
    late: int = 0
    duplicated: int = 0
    altered: int = 0
    reserialised: int = 0
    stale_hash: int = 0
    phantom: int = 0
    out_of_order: int = 0
    uncovered: int = 0
    accepted: int = 0
    in_flight: int = 0
    foreign: int = 0

    @property
    def discrepancies(self) -> int:
        """All of them, of every kind."""
        return sum(int(getattr(self, kind.value)) for kind in Kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryCount:
    """One category's figures: expected events, and discrepancies by kind in all stores."""

    expected: int = 0
    kinds: Mapping[str, int] = field(default_factory=dict)

    @property
    def discrepancies(self) -> int:
        """All of them, of every kind."""
        return sum(self.kinds.values())


class Blocks(NamedTuple):
    """How many blocks this run compared, how many of them differed, how many are sealed.

    ``streams`` is the number of streams that the compared blocks belong to.
    """

    checked: int = 0
    differing: int = 0
    sealed: int = 0
    streams: int = 0


class Rollup(NamedTuple):
    """What this run compared of one stream in one store, added up over its blocks.

    ``expected`` is what the other stores say it must hold (late and uncovered events left out),
    ``held`` what it holds of it, each once; the totals are their sums of content hashes
    modulo 2^64.
    """

    topic: str
    partition: int
    category: str
    store: str
    blocks: int
    expected: int
    held: int
    expected_total: int
    held_total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the suites of expectations judge; it does not travel with the result's JSON.

    ``rollups`` has a row per compared stream and store in ``stores``; ``sample`` are the newest
    events of the journal that were old enough to be judged. The rest is what the settings
    say: the categories and topics there are (a topic's category), the categories that must be
    exact, the share of the others that may differ (and where it is another one), and an event's
    largest content.
    """

    stores: tuple[str, ...]
    rollups: tuple[Rollup, ...]
    sample: tuple[Event, ...]
    categories: tuple[str, ...]
    topics: Mapping[str, str]
    exact: tuple[str, ...]
    tolerance: float
    max_event_bytes: int
    tolerances: Mapping[str, float] = field(default_factory=dict)

    def tolerance_of(self, category: str) -> float:
        """The share of a category's events that may differ."""
        return 0.0 if category in self.exact else self.tolerances.get(category, self.tolerance)


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteResult:
    """What one suite of expectations concluded.

    ``failed`` names each expectation that did not hold, with what was observed and why it
    matters; ``expectations`` is how many there were.
    """

    suite: str
    verdict: Verdict
    expectations: int
    failed: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "suite": self.suite,
            "verdict": self.verdict.value,
            "expectations": self.expectations,
            "failed": list(self.failed),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "SuiteResult":
        """Read what ``to_json`` wrote."""
        return cls(
            suite=str(value["suite"]),
            verdict=Verdict(value["verdict"]),
            expectations=int(value["expectations"]),
            failed=tuple(value["failed"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """One run's result; ``to_json`` is the form of docs/protocol.md section 8.

    ``checked_events`` are those compared by this run; sealed ones were compared by an
    earlier one. ``discrepancies`` are the first ``MAX_DISCREPANCIES``, critical ones first.
    ``errors`` names stores that could not be read, ``gaps`` what a person accepted unproven.
    """

    at_us: int
    duration_ms: float
    verdict: Verdict
    trigger: str = "cli"
    full: bool = False
    checked_events: int = 0
    blocks: Blocks = field(default_factory=Blocks)
    stores: Mapping[str, StoreCount] = field(default_factory=dict)
    categories: Mapping[str, CategoryCount] = field(default_factory=dict)
    discrepancies: tuple[Discrepancy, ...] = ()
    discrepancy_count: int = 0
    suites: tuple[SuiteResult, ...] = ()
    errors: Mapping[str, str] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()
    evidence: Evidence | None = None

    @property
    def is_denied(self) -> bool:
        """Whether the suites broke, or deny what the comparison found right.

        Nothing is sealed then. (A discrepancy fails suites too, and keeps its own block open.)
        """
        said = {suite.verdict for suite in self.suites}
        found = any(count.kinds for count in self.categories.values())
        return Verdict.ERROR in said or (Verdict.FAIL in said and not found)

    def with_suites(self, suites: Sequence[SuiteResult]) -> "Reconciliation":
        """The result with the suites' conclusions folded into its verdict."""
        verdict = worst([self.verdict, *(suite.verdict for suite in suites)])
        return replace(self, suites=(*self.suites, *suites), verdict=verdict)

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "at_us": self.at_us,
            "duration_ms": self.duration_ms,
            "verdict": self.verdict.value,
            "trigger": self.trigger,
            "full": self.full,
            "checked_events": self.checked_events,
            "blocks": self.blocks._asdict(),
            "stores": {
                name: {key: getattr(count, key) for key in StoreCount.__dataclass_fields__}
                for name, count in self.stores.items()
            },
            "categories": {
                name: {
                    "expected": count.expected,
                    "discrepancies": count.discrepancies,
                    "kinds": dict(count.kinds),
                }
                for name, count in self.categories.items()
            },
            "discrepancies": [one.to_json() for one in self.discrepancies],
            "discrepancy_count": self.discrepancy_count,
            "suites": [suite.to_json() for suite in self.suites],
            "errors": dict(self.errors),
            "gaps": [gap.to_json() for gap in self.gaps],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Reconciliation":
        """Read what ``to_json`` wrote; ``evidence`` does not travel.

        Raises:
            KeyError, TypeError, ValueError: when it is not such a result.
        """
        return cls(
            at_us=int(value["at_us"]),
            duration_ms=float(value["duration_ms"]),
            verdict=Verdict(value["verdict"]),
            trigger=str(value["trigger"]),
            full=bool(value["full"]),
            checked_events=int(value["checked_events"]),
            blocks=Blocks(**value["blocks"]),
            stores={name: StoreCount(**count) for name, count in value["stores"].items()},
            categories={
                name: CategoryCount(
                    expected=int(count["expected"]), kinds=dict(count.get("kinds", {}))
                )
                for name, count in value["categories"].items()
            },
            discrepancies=tuple(Discrepancy.from_json(one) for one in value["discrepancies"]),
            discrepancy_count=int(value["discrepancy_count"]),
            suites=tuple(SuiteResult.from_json(suite) for suite in value["suites"]),
            errors=dict(value.get("errors", {})),
            gaps=tuple(Gap.from_json(one) for one in value.get("gaps", ())),
        )


def conclude(
    *,
    checked_events: int,
    errors: Mapping[str, str],
    categories: Mapping[str, CategoryCount],
    exact: Iterable[str],
    tolerance: float,
    tolerances: Mapping[str, float] = MappingProxyType({}),
) -> Verdict:
    """The verdict of a run.

    FAIL: a discrepancy in a category that must be ``exact``, or, in another one, more of
    them than its tolerance (``tolerances``, else ``tolerance``) as a share of its expected events.
    ERROR: a store could not be
    read. INCONCLUSIVE: nothing was checked, or events are late or uncovered (I7). Those alone
    never make a FAIL: nobody knows them to be lost.
    """
    verdicts = [Verdict.PASS if checked_events else Verdict.INCONCLUSIVE]
    if errors:
        verdicts.append(Verdict.ERROR)
    must_be_exact = frozenset(exact)
    for name, count in categories.items():
        undecided = sum(count.kinds.get(kind, 0) for kind in UNDECIDED)
        wrong = count.discrepancies - undecided
        share = 0.0 if name in must_be_exact else tolerances.get(name, tolerance)
        allowed = share * count.expected
        if wrong > allowed:
            verdicts.append(Verdict.FAIL)
        elif undecided:
            verdicts.append(Verdict.INCONCLUSIVE)
    return worst(verdicts)
