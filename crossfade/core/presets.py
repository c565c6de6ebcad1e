"""Plans to start from, as the stages that a ``crossfade.toml`` would hold."""

from collections.abc import Callable, Mapping
from typing import Any

from crossfade.core.flags import EVERYTHING

__all__ = ["PRESETS"]

_WEEK_S = 7 * 86_400.0
_HOUR_S = 3_600.0

StageValues = dict[str, Any]


def _stage(name: str, percent: float, **more: Any) -> StageValues:
    return {"name": name, "percent": {EVERYTHING: percent}, "soak_s": _WEEK_S, **more}


def _three_weeks() -> list[StageValues]:
    """The strategy's own: 10, 50 and 100 %."""
    return [_stage(f"week-{n}", share) for n, share in enumerate((10.0, 50.0, 100.0), 1)]


def _eight_weeks() -> list[StageValues]:
    """A week in shadow, then seven that about double."""
    shadow = _stage("shadow", 0.0, written={EVERYTHING: 100.0})
    shares = (1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0)
    return [shadow, *(_stage(f"week-{n}", share) for n, share in enumerate(shares, 2))]


def _slow() -> list[StageValues]:
    """Two weeks a stage, each climbed in steps of an hour."""
    ramps = {
        5.0: (1.0, 2.0),
        10.0: (6.0, 8.0),
        25.0: (15.0, 20.0),
        50.0: (30.0, 40.0),
        100.0: (60.0, 75.0, 90.0),
    }
    shadow = _stage("shadow", 0.0, written={EVERYTHING: 100.0}) | {"soak_s": 2 * _WEEK_S}
    return [
        shadow,
        *(
            _stage(f"stage-{n}", share, ramp=list(ramp), hold_s=_HOUR_S) | {"soak_s": 2 * _WEEK_S}
            for n, (share, ramp) in enumerate(ramps.items(), 1)
        ),
    ]


def _big_bang() -> list[StageValues]:
    """Everybody at once; ``crossfade plan`` warns of it."""
    return [_stage("everything", 100.0)]


PRESETS: Mapping[str, Callable[[], list[StageValues]]] = {
    "three-weeks": _three_weeks,
    "eight-weeks": _eight_weeks,
    "slow": _slow,
    "big-bang": _big_bang,
}
"""By name; each call makes new values."""
