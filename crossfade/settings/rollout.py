"""The plan: stages, what each must show, and the cohort's arithmetic."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from crossfade.core.flags import EVERYTHING
from crossfade.core.presets import PRESETS
from crossfade.settings.section import Section

if TYPE_CHECKING:
    from crossfade.core.rollout.plan import Plan

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
    ramp: tuple[float, ...] = Field(
        (), max_length=100, description="percentages on the way, each held for hold_s"
    )
    hold_s: float = Field(0.0, ge=0)
    written: dict[str, float] = Field(
        default_factory=dict, description="dual-written beyond what is served (shadow)"
    )
    promote: Literal["person", "automation"] = "person"
    start: Literal["person", "automation"] = Field(
        "person", description="who starts its week once the stage before was approved"
    )

    @model_validator(mode="after")
    def _range(self) -> "StageSettings":
        for name in ("percent", "written"):
            for category, percent in getattr(self, name).items():
                if not 0 <= percent <= 100:
                    raise ValueError(f"{name} of {category} must be 0 to 100, is {percent}")
        if any(not 0 < step <= 100 for step in self.ramp) or list(self.ramp) != sorted(
            set(self.ramp)
        ):
            raise ValueError("ramp must rise, with steps above 0 and at most 100")
        if self.ramp and self.ramp[-1] > max(self.percent.values(), default=0.0):
            raise ValueError(f"ramp goes to {self.ramp[-1]:g} %, beyond the stage's percent")
        if self.hold_s and not self.ramp:
            raise ValueError("hold_s is for the steps of a ramp, and there is none")
        return self


class RolloutSettings(Section):
    """The plan."""

    name: str = "rollout"
    preset: str = Field("three-weeks", description="the stages, where none are written")
    stages: tuple[StageSettings, ...] = Field((), min_length=1, validate_default=True)
    approval_expires_s: float = Field(3 * 86_400.0, gt=0)
    stall_s: float = Field(
        86_400.0, gt=0, description="a ramp or gate without a conclusion for longer is held"
    )
    approver_differs: bool = Field(
        False, description="who started or last resumed the rollout may not approve it"
    )
    drill_fresh_s: float = Field(
        0.0, ge=0, description="oldest drill with which a later stage may begin; 0: none needed"
    )
    drill_points: float = Field(5.0, gt=0, le=100, description="percentage points a drill moves")
    drill_recovery_s: float = Field(15.0, gt=0, description="slowest drill that passes")
    reverse_s: float = Field(
        7 * 86_400.0, ge=0, description="how long WebSocket runs on after the cut-over"
    )
    partitions: int = Field(50, ge=1, le=4_096)
    salt: str = "crossfade"

    def plan(self, topics: Mapping[str, str]) -> "Plan":
        """The plan as the rollout machine keeps it; ``topics`` are ``Settings.topics``."""
        # Only here: every command reads settings, and most have no use for the machine.
        from crossfade.core.rollout.plan import Plan

        values = self.model_dump(mode="json", exclude={"name", "preset"})
        return Plan.from_json({**values, "topics": dict(topics)})

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        name = value.get("preset", "three-weeks")
        if name not in PRESETS:
            raise ValueError(f"no preset {name!r}; there are {', '.join(PRESETS)}")
        return value if "stages" in value else {**value, "stages": PRESETS[name]()}

    @model_validator(mode="after")
    def _growing(self) -> "RolloutSettings":
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError("stages must have different names")
        if self.stages[0].start != "person":
            raise ValueError(f"{names[0]} is the first stage: a person starts it")
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
