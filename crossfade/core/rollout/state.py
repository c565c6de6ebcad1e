"""A rollout's state: one frozen value that the control server stores and nothing else changes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from crossfade.core.flags import Flags
from crossfade.core.rollout.plan import Plan, Stage

__all__ = [
    "ENDED_WELL",
    "IN_STAGE",
    "Approval",
    "Drill",
    "DrillRecord",
    "Phase",
    "Rollout",
    "flags_of",
]


class Phase(StrEnum):
    """Where a stage stands (docs/protocol.md, section 6)."""

    READY = "ready"
    PREFLIGHT = "preflight"
    RAMPING = "ramping"
    SOAKING = "soaking"
    RECONCILING = "reconciling"
    AWAITING_APPROVAL = "awaiting_approval"
    DRILLING = "drilling"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    HELD = "held"
    COMPLETED = "completed"
    CUT_OVER = "cut_over"
    DECOMMISSIONED = "decommissioned"
    CANCELLED = "cancelled"


IN_STAGE = (
    Phase.READY,
    Phase.PREFLIGHT,
    Phase.RAMPING,
    Phase.SOAKING,
    Phase.RECONCILING,
    Phase.AWAITING_APPROVAL,
)
"""The phases of a stage that goes forward, in their order."""

ENDED_WELL = (Phase.COMPLETED, Phase.CUT_OVER, Phase.DECOMMISSIONED)
"""The phases after the last stage's approval, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """A rollback on purpose that is under way.

    ``phase`` and ``served`` are what it goes back to; ``deadline_us`` is the soak's end, which
    moves by as long as the drill takes. ``points`` are percentage points taken back, of
    ``scope`` (categories; None: all). ``back_ms`` is None until every live instance was back.
    """

    phase: Phase
    served: Mapping[str, float]
    points: float
    scope: tuple[str, ...] | None
    started_us: int
    deadline_us: int | None = None
    back_ms: float | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Drill":
        """Read what ``asdict`` made of it."""
        scope = value["scope"]
        found = {**value, "phase": Phase(value["phase"])}
        return cls(**{**found, "scope": None if scope is None else tuple(scope)})


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillRecord:
    """What the last drill showed: how long everybody took to be back, and forward again.

    ``passed``: back within the plan's ``drill_recovery_s``. Times are milliseconds.
    """

    stage: int
    points: float
    scope: tuple[str, ...] | None
    back_ms: float
    forward_ms: float
    passed: bool
    at_us: int

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "DrillRecord":
        """Read what ``asdict`` made of it."""
        scope = value["scope"]
        return cls(**{**value, "scope": None if scope is None else tuple(scope)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Who let which evidence of which stage and attempt pass, and when."""

    stage: int
    attempt: int
    evidence_hash: str
    approver: str
    comment: str
    tickets: int
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The state of one rollout.

    ``version`` rises by one at every change (compare-and-swap, I6). ``stage`` counts from 0,
    ``attempt`` from 1 in every stage, ``ramp_step`` the ramp's steps from 0. ``served`` and
    ``written`` are the percentages in force. ``evidence_since_us`` is where this attempt's
    evidence begins; ``deadline_us`` is the soak's end while soaking, the approval's expiry
    while waiting for one, the end of a step's hold while ramping, and after the cut-over when
    WebSocket may be switched off. ``operator`` started or last resumed it. ``incident_id``
    names the incident that is open; ``incidents`` counts all of them.
    Times are microseconds since 1970.
    """

    id: str
    name: str
    plan: Plan
    version: int = 1
    phase: Phase = Phase.READY
    stage: int = 0
    attempt: int = 1
    actor: str = ""
    operator: str = ""
    reason: str = ""
    started_us: int = 0
    since_us: int = 0
    evidence_since_us: int = 0
    deadline_us: int | None = None
    ramp_step: int = 0
    served: Mapping[str, float] = field(default_factory=dict)
    written: Mapping[str, float] = field(default_factory=dict)
    evidence_hash: str | None = None
    reconciliation: str | None = None
    incident_id: str | None = None
    incidents: int = 0
    approvals: tuple[Approval, ...] = ()
    drill: Drill | None = None
    last_drill: DrillRecord | None = None

    @property
    def current(self) -> Stage:
        """The stage that ``stage`` counts to."""
        return self.plan.stages[self.stage]

    @property
    def active(self) -> bool:
        """Whether another rollout may not start: it neither ended well nor was cancelled."""
        return self.phase not in (*ENDED_WELL, Phase.CANCELLED)

    @property
    def serving(self) -> bool:
        """Whether Realtime serves anybody."""
        return any(share > 0 for share in self.served.values())

    @property
    def exposed(self) -> bool:
        """Whether a breach matters now: Realtime serves somebody, or a stage is being tried."""
        if self.phase is Phase.DECOMMISSIONED:
            return False  # there is nothing to go back to
        if self.phase in (
            Phase.RAMPING,
            Phase.SOAKING,
            Phase.RECONCILING,
            Phase.AWAITING_APPROVAL,
        ):
            return True
        return self.serving

    def to_json(self) -> dict[str, Any]:
        """The rollout as JSON values, in the form of the protocol page."""
        plan = self.plan.to_json()
        return {
            "id": self.id,
            "name": self.name,
            "version": self.version,
            "phase": self.phase.value,
            "stage": self.stage,
            "stages": plan.pop("stages"),
            "attempt": self.attempt,
            "actor": self.actor,
            "operator": self.operator,
            "reason": self.reason,
            "started_us": self.started_us,
            "since_us": self.since_us,
            "evidence_since_us": self.evidence_since_us,
            "deadline_us": self.deadline_us,
            "ramp_step": self.ramp_step,
            "percentages": {"served": dict(self.served), "written": dict(self.written)},
            "evidence_hash": self.evidence_hash,
            "reconciliation": self.reconciliation,
            "incident_id": self.incident_id,
            "incidents": self.incidents,
            "approvals": [asdict(one) for one in self.approvals],
            "drill": None if self.drill is None else asdict(self.drill),
            "last_drill": None if self.last_drill is None else asdict(self.last_drill),
            "plan": plan,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Rollout":
        """Read what ``to_json`` wrote.

        Raises:
            KeyError, TypeError, ValueError: when it is not such a document.
        """
        known = dict(value)
        stages, shares = known.pop("stages"), known.pop("percentages")
        known["plan"] = Plan.from_json({**known["plan"], "stages": stages})
        known["phase"] = Phase(known["phase"])
        known["approvals"] = tuple(Approval(**one) for one in known["approvals"])
        if known.get("drill") is not None:
            known["drill"] = Drill.from_json(known["drill"])
        if known.get("last_drill") is not None:
            known["last_drill"] = DrillRecord.from_json(known["last_drill"])
        return cls(**known, served=shares["served"], written=shares["written"])


def flags_of(rollout: Rollout, version: int) -> Flags:
    """The flags that follow from the rollout's state."""
    return Flags(
        version=version,
        salt=rollout.plan.salt,
        partitions=rollout.plan.partitions,
        topics=rollout.plan.topics,
        written=rollout.written,
        served=rollout.served,
        decommissioned=rollout.phase is Phase.DECOMMISSIONED,
    )
