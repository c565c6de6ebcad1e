"""A rollout's plan: its stages and what each must show."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from crossfade.core.flags import EVERYTHING

__all__ = ["AUTOMATION", "PERSON", "Plan", "Stage", "Targets", "percent_of"]

AUTOMATION = "automation"
PERSON = "person"


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What a stage must show (the same fields as ``settings.Targets``).

    Shares (``delivery``, ``confidence``, ``error_rate``, ``adoption``) are from 0 to 1.
    """

    delivery: float = 0.999
    confidence: float = 0.95
    error_rate: float = 0.05
    error_for_s: float = 300.0
    p95_ms: float = 500.0
    latency_ratio: float = 2.0
    latency_for_s: float = 600.0
    latency_floor_ms: float = 100.0
    minimum_events: int = 2_999
    adoption: float = 0.95
    tickets_per_week: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One rollout week; ``percent`` maps a category (or ``"*"``) to a percentage.

    ``ramp`` holds the percentages on the way there, each in force for ``hold_s`` seconds once
    every live instance follows it; empty: at once. ``written`` is dual-written beyond what is
    served: a shadow stage serves 0 and writes 100. ``promote`` says who lets evidence that
    passed go on: a ``person``, or ``automation`` (the control server itself). ``start`` says who
    starts the stage's week once the stage before was approved: a ``person``, or ``automation``
    (Prefect's, which the event ``crossfade.promoted`` sets off).
    """

    name: str
    percent: Mapping[str, float]
    soak_s: float
    targets: Targets = Targets()
    ramp: tuple[float, ...] = ()
    hold_s: float = 0.0
    written: Mapping[str, float] = field(default_factory=dict)
    promote: str = PERSON
    start: str = PERSON

    @property
    def shadow(self) -> bool:
        """Whether it serves nobody: everything is written and compared, and nobody reads it."""
        return not any(share > 0 for share in self.percent.values())

    def serves_at(self, step: int) -> dict[str, float]:
        """What is served at ``step`` of the ramp (from 0); the last is ``percent`` itself."""
        if step >= len(self.ramp):
            return dict(self.percent)
        return {key: min(share, self.ramp[step]) for key, share in self.percent.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The stages, and what the flags need besides them (see ``flags.Flags``).

    ``approval_expires_s`` is how long a gate waits for a person, ``stall_s`` how long a
    ramp or gate may go without a conclusion; after either the stage is held.
    ``approver_differs``: who started or last resumed the rollout may not approve it.
    A stage that follows one which serves somebody begins only after a drill of the last
    ``drill_fresh_s`` seconds (0: none is asked for) that took ``drill_points`` percentage
    points back within ``drill_recovery_s``. ``reverse_s`` is how long WebSocket runs on
    after the cut-over before it may be switched off.
    """

    stages: tuple[Stage, ...]
    topics: Mapping[str, str] = field(default_factory=dict)
    partitions: int = 50
    salt: str = "crossfade"
    approval_expires_s: float = 3 * 86_400.0
    stall_s: float = 86_400.0
    approver_differs: bool = False
    drill_fresh_s: float = 0.0
    drill_points: float = 5.0
    drill_recovery_s: float = 15.0
    reverse_s: float = 7 * 86_400.0

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("a plan needs at least one stage")

    @property
    def categories(self) -> frozenset[str]:
        """Every category that the plan or its topics name."""
        named = {key for stage in self.stages for key in (*stage.percent, *stage.written)}
        return frozenset((named | set(self.topics.values())) - {EVERYTHING})

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Plan":
        """Read what ``to_json`` wrote.

        Raises:
            KeyError, TypeError, ValueError: when it is not such a document.
        """
        stages = tuple(
            Stage(
                name=str(one["name"]),
                percent={str(key): float(share) for key, share in one["percent"].items()},
                soak_s=float(one["soak_s"]),
                targets=Targets(**one["targets"]),
                ramp=tuple(float(share) for share in one.get("ramp", ())),
                hold_s=float(one.get("hold_s", 0.0)),
                written={str(key): float(share) for key, share in one.get("written", {}).items()},
                promote=str(one.get("promote", PERSON)),
                start=str(one.get("start", PERSON)),
            )
            for one in value["stages"]
        )
        rest = {key: value[key] for key in value if key != "stages"}
        return cls(stages=stages, **rest)


def percent_of(shares: Mapping[str, float], category: str) -> float:
    """The percentage that ``shares`` gives ``category``, by itself or by ``"*"``."""
    return float(shares.get(category, shares.get(EVERYTHING, 0.0)))
