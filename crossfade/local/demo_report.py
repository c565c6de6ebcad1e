"""The demo's report: one JSON document (docs/demo-report.md) and what a person reads of it."""

import hashlib
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

import crossfade
from crossfade.errors import UsageError
from crossfade.local.demo_checker import Expected, HolderResult
from crossfade.local.demo_options import DemoOptions
from crossfade.local.demo_verify import Choice

__all__ = ["REPORT_FORMAT", "DemoReport", "Outage", "StageRecord", "empty_report"]

REPORT_FORMAT = 1
_FINDINGS_KEPT = 200


@dataclass(slots=True, kw_only=True)
class StageRecord:
    """One attempt of one week, as the control server recorded it."""

    stage: int
    name: str
    attempt: int
    percent: dict[str, float]
    outcome: str
    verdict: str
    evidence: dict[str, Any] | None = None
    evidence_hash: str | None = None
    approver: str | None = None
    comment: str | None = None
    approved_at_us: int | None = None
    reason: str = ""
    duration_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class Outage:
    """The outage as it was observed; seconds count from its start unless said otherwise.

    A figure is None when it was not reached. ``drain_s`` counts from the outage's end (both
    services answer again), ``delivered_during`` are the events that each subscriber was handed
    while Supabase was gone.
    """

    services: list[str]
    started_at_us: int
    week: str
    duration_s: float | None = None
    breaker_open_s: float | None = None
    flag_applied_s: float | None = None
    rollback_verified_s: float | None = None
    owed_at_end: int | None = None
    drain_s: float | None = None
    resumed_s: float | None = None
    published_during: int | None = None
    delivered_during: dict[str, int] = field(default_factory=dict)
    incident: str | None = None
    root_cause: str | None = None
    fix: str | None = None


@dataclass(slots=True, kw_only=True)
class DemoReport:
    """Everything that a demo found out; filled in as it goes."""

    seed: int
    started_at_us: int
    machine: dict[str, Any]
    input: dict[str, Any]
    options: dict[str, Any]
    published: dict[str, Any] = field(default_factory=dict)
    phases_s: dict[str, float] = field(default_factory=dict)
    stages: list[StageRecord] = field(default_factory=list)
    outage: Outage | None = None
    reconciliation: dict[str, Any] | None = None
    rows: dict[str, int] = field(default_factory=dict)
    stores: Sequence[HolderResult] = ()
    subscribers: Sequence[HolderResult] = ()
    follows: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    completed: bool = False
    duration_s: float = 0.0

    @property
    def proven(self) -> bool:
        """Nothing failed, and everything that was to be checked was checked and is clean."""
        checked = (*self.stores, *self.subscribers)
        return not self.failures and bool(checked) and all(one.clean for one in checked)

    @property
    def findings(self) -> list[Any]:
        """Every wrong event at every holder."""
        return [finding for one in (*self.stores, *self.subscribers) for finding in one.findings]

    @property
    def conclusion(self) -> str:
        """One line: what was proven, or what was not."""
        if not self.proven:
            findings = [str(one) for one in self.findings]
            # What did not run leaves events missing; once all has run, a bad event is the news.
            faults = findings + self.failures if self.completed else self.failures + findings
            first, more = (faults or [""])[0], len(faults) - 1
            rest = f" (and {more} more)" if more > 0 else ""
            return f"NOT PROVEN: {first or 'nothing was checked'}{rest}"
        count = self.input["events"]
        middle = ""
        if self.outage is not None:
            middle = (
                f"through an outage of {self.outage.duration_s:.1f} s and a rollback in "
                f"{self.outage.week}, "
            )
        return (
            f"PROVEN: {count:,} events moved to Supabase Realtime in {len(self.weeks)} weeks, "
            f"{middle}none lost, doubled, altered or out of order in any of the three stores "
            f"or at any of {len(self.subscribers)} subscribers"
        )

    @property
    def weeks(self) -> list[str]:
        """The weeks that were approved, by name."""
        return [one.name for one in self.stages if one.outcome == "approved"]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        findings = self.findings
        return {
            "format": REPORT_FORMAT,
            "outcome": "proven" if self.proven else "failed",
            "conclusion": self.conclusion,
            "failures": self.failures,
            "seed": self.seed,
            "started_at_us": self.started_at_us,
            "duration_s": round(self.duration_s, 3),
            "phases_s": {name: round(value, 3) for name, value in self.phases_s.items()},
            "machine": self.machine,
            "options": self.options,
            "input": self.input,
            "published": self.published,
            "stores": {one.name: one.to_json() for one in self.stores},
            "subscribers": {
                one.name: {"follows": self.follows.get(one.name, ""), **one.to_json()}
                for one in self.subscribers
            },
            "findings": [finding.to_json() for finding in findings[:_FINDINGS_KEPT]],
            "finding_count": len(findings),
            "stages": [asdict(one) for one in self.stages],
            "outage": None if self.outage is None else asdict(self.outage),
            "reconciliation": self.reconciliation,
            "rows": self.rows,
        }

    def write(self, path: Path) -> None:
        """Write the JSON document.

        Raises:
            UsageError: the file can not be written.
        """
        try:
            path.write_bytes(orjson.dumps(self.to_json(), option=orjson.OPT_INDENT_2) + b"\n")
        except OSError as error:
            raise UsageError(f"--report {path}: {error.strerror or error}") from error


def empty_report(options: DemoOptions, expected: Sequence[Expected], choice: Choice) -> DemoReport:
    """A report that says what is to be done, and nothing yet of what came of it."""
    types: dict[str, int] = {}
    for one in expected:
        types[one.type] = types.get(one.type, 0) + 1
    return DemoReport(
        seed=options.seed,
        started_at_us=time.time_ns() // 1000,
        machine={
            "crossfade": crossfade.__version__,
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
        },
        input={
            "file": options.events.name,
            "sha256": hashlib.sha256(options.events.read_bytes()).hexdigest(),
            "events": len(expected),
            "types": types,
        },
        options={
            "approve": options.approve.value,
            "rate": options.rate,
            "soak_s": options.soak_s,
            "outage_s": options.outage_s,
            "keys": list(choice.keys),
            "sabotage": {kind.value: choice.victims[kind].id for kind in options.sabotage},
        },
    )
