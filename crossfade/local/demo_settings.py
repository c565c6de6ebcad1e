"""The demo's settings: the real machinery with weeks of seconds.

What is scaled, and why:

* Times, and with them the number of events that a stage must have seen.
* The share that the first gates demand as proven: 99.9 % at 95 % confidence takes 2,999 events
  with none missing, more than the first weeks of seconds bring. They demand what the events
  they have can show; week 3 demands 99.9 %. The demo's own last word is a count: 0 lost.
* Latency: the whole stack, a hosted service's stand-in included, shares a few cores with
  everything else, and the WebSocket side of a loopback takes milliseconds. A ratio of the two
  says nothing below the p95 target, and the target is generous.

The statistics, the confidence, every other target, every gate and every check are real.
"""

import math

from crossfade.core.flags import EVERYTHING
from crossfade.local.demo_options import DemoOptions
from crossfade.settings import (
    BreakerSettings,
    ClassificationRule,
    ClassificationSettings,
    ControlSettings,
    JournalSettings,
    PublisherSettings,
    ReconcileSettings,
    RelaySettings,
    RolloutSettings,
    Settings,
    StageSettings,
    SubscriberSettings,
    SupabaseSettings,
    Targets,
)

__all__ = ["SOURCE", "demo_settings"]

SOURCE = "flights"
_WEEKS = (("week-1", 10.0), ("week-2", 50.0), ("week-3", 100.0))
_PROVEN_BY = (50, 300, 2_999)
"""How many relayed events, none missing, must show the share that a week's gate demands."""

_PROVEN_BY_FEW = (20, 60, 200)
"""The same when only a part of the input is replayed."""

_SEEN = (60, 200, 400)
"""The fewest events that must have been written during a week."""

_SEEN_FEW = (15, 40, 80)
_LATENCY_MS = 1_500.0
_CATEGORIES = (
    ("critical", "flight.cancelled"),
    ("critical", "flight.diverted"),
    ("performance", "flight.delayed"),
    ("user_activity", "flight.departed"),
    ("user_activity", "flight.arrived"),
    ("system", "weather.*"),
)


def demo_settings(options: DemoOptions) -> Settings:
    """Everything that differs from the defaults, as a user would write it into a file."""
    return Settings(
        classification=ClassificationSettings(
            rules=tuple(
                ClassificationRule(name=pattern, category=category, type=pattern)
                for category, pattern in _CATEGORIES
            ),
            heuristics=False,
        ),
        publisher=PublisherSettings(source=SOURCE, drain_s=60.0),
        # The demo kills processes, not the machine.
        journal=JournalSettings(durability="os"),
        relay=RelaySettings(timeout_s=2.0, retry_initial_s=0.1, retry_max_s=1.0),
        supabase=SupabaseSettings(timeout_s=2.0),
        breaker=BreakerSettings(window_s=10.0, minimum_calls=10, open_s=1.0, open_max_s=2.0),
        subscriber=SubscriberSettings(retry_initial_s=0.1, retry_max_s=1.0),
        control=ControlSettings(monitor_s=0.25, live_s=4.0),
        rollout=RolloutSettings(
            name="flights",
            salt=f"demo-{options.seed}",
            stages=_stages(options),
            approval_expires_s=3_600.0,
            stall_s=180.0,
        ),
        reconcile=ReconcileSettings(grace_s=2.0, rechecks=3, recheck_s=0.3, every_s=900.0),
    )


def _stages(options: DemoOptions) -> tuple[StageSettings, ...]:
    few = options.limit is not None
    weeks = [
        StageSettings(
            name=name,
            percent={EVERYTHING: percent},
            soak_s=options.soak_s,
            targets=_targets(seen, proven_by),
        )
        for (name, percent), seen, proven_by in zip(
            _WEEKS,
            _SEEN_FEW if few else _SEEN,
            _PROVEN_BY_FEW if few else _PROVEN_BY,
            strict=True,
        )
    ]
    return tuple(weeks[-options.weeks :])


def _targets(seen: int, proven_by: int) -> Targets:
    confidence = Targets().confidence
    # With none of n missing the exact lower bound of the share is (1 - confidence)^(1/n).
    shown = (1 - confidence) ** (1 / proven_by)
    return Targets(
        minimum_events=seen,
        delivery=math.floor(shown * 1_000) / 1_000,
        error_for_s=4.0,
        latency_for_s=8.0,
        p95_ms=_LATENCY_MS,
        latency_floor_ms=_LATENCY_MS,
    )
