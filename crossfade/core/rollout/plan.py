"""A rollout's plan: its stages and what each must show."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from crossfade.core.flags import EVERYTHING

__all__ = ["Plan", "Stage", "Targets", "percent_of"]


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
    """One rollout week; ``percent`` maps a category (or ``"*"``) to a percentage."""

    name: str
    percent: Mapping[str, float]
    soak_s: float
    targets: Targets = Targets()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The stages, and what the flags need besides them (see ``flags.Flags``).

    ``approval_expires_s`` is how long a gate waits for a person, ``stall_s`` how long a
    ramp or gate may go without a conclusion; after either the stage is held.
    """

    stages: tuple[Stage, ...]
    topics: Mapping[str, str] = field(default_factory=dict)
    partitions: int = 50
    salt: str = "crossfade"
    approval_expires_s: float = 3 * 86_400.0
    stall_s: float = 86_400.0

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("a plan needs at least one stage")

    @property
    def categories(self) -> frozenset[str]:
        """Every category that the plan or its topics name."""
        named = {category for stage in self.stages for category in stage.percent}
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
            )
            for one in value["stages"]
        )
        rest = {key: value[key] for key in value if key != "stages"}
        return cls(stages=stages, **rest)


def percent_of(shares: Mapping[str, float], category: str) -> float:
    """The percentage that ``shares`` gives ``category``, by itself or by ``"*"``."""
    return float(shares.get(category, shares.get(EVERYTHING, 0.0)))
