"""The plan: stages, what each must show, and the cohort's arithmetic."""

from pydantic import Field, model_validator

from crossfade.core.flags import EVERYTHING
from crossfade.settings.section import Section

__all__ = [
    "RolloutSettings",
    "StageSettings",
    "Targets",
]


class Targets(Section):
    """What a stage must show; the strategy's figures are the defaults."""

    delivery: float = Field(0.999, gt=0, le=1)
    confidence: float = Field(0.95, gt=0.5, lt=1)
    error_rate: float = Field(0.05, gt=0, le=1)
    error_for_s: float = Field(300.0, gt=0)
    p95_ms: float = Field(500.0, gt=0)
    latency_ratio: float = Field(2.0, gt=1, description="Realtime against WebSocket, same events")
    latency_for_s: float = Field(600.0, gt=0)
    latency_floor_ms: float = Field(
        100.0, ge=0, description="a Realtime p95 up to this is fine, whatever the ratio"
    )
    minimum_events: int = Field(2_999, ge=1)
    adoption: float = Field(
        0.95, gt=0, le=1, description="share of the cohort's events first delivered by Realtime"
    )
    tickets_per_week: int = Field(5, ge=0)


class StageSettings(Section):
    """One rollout week."""

    name: str
    percent: dict[str, float] = Field(default_factory=lambda: {EVERYTHING: 100.0})
    soak_s: float = Field(7 * 86_400.0, gt=0)
    targets: Targets = Targets()

    @model_validator(mode="after")
    def _range(self) -> "StageSettings":
        for category, percent in self.percent.items():
            if not 0 <= percent <= 100:
                raise ValueError(f"percent of {category} must be 0 to 100, is {percent}")
        return self


def _three_weeks() -> tuple[StageSettings, ...]:
    shares = (("week-1", 10.0), ("week-2", 50.0), ("week-3", 100.0))
    return tuple(StageSettings(name=name, percent={EVERYTHING: share}) for name, share in shares)


class RolloutSettings(Section):
    """The plan."""

    name: str = "rollout"
    stages: tuple[StageSettings, ...] = Field(default_factory=_three_weeks, min_length=1)
    approval_expires_s: float = Field(3 * 86_400.0, gt=0)
    stall_s: float = Field(
        86_400.0, gt=0, description="a ramp or gate without a conclusion for longer is held"
    )
    partitions: int = Field(50, ge=1, le=4_096)
    salt: str = "crossfade"

    @model_validator(mode="after")
    def _growing(self) -> "RolloutSettings":
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError("stages must have different names")
        for before, after in zip(self.stages, self.stages[1:], strict=False):
            for category in {*before.percent, *after.percent}:
                low = before.percent.get(category, before.percent.get(EVERYTHING, 0.0))
                high = after.percent.get(category, after.percent.get(EVERYTHING, 0.0))
                if high < low:
                    raise ValueError(
                        f"{after.name} lowers {category} from {low:g} % to {high:g} %: "
                        "stages only grow"
                    )
        return self
