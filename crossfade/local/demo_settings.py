"""The demo's settings: the real machinery with weeks of seconds.

Times are scaled, and with them the number of events that a stage must have seen and the share
of them that the gate demands as proven: 99.9 % at 95 % confidence takes 2,999 events with none
missing, more than seconds bring. So each week demands what its own minimum can show. The
statistics, the confidence, every other target, every gate and every check stay as they are,
and the demo's own last word is not a share but a count: 0 lost.
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
_WEEKS = (("week-1", 10.0, 100), ("week-2", 50.0, 300), ("week-3", 100.0, 600))
"""Name, percent, and the fewest events that the week must have seen."""
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
            stages=tuple(
                StageSettings(
                    name=name,
                    percent={EVERYTHING: percent},
                    soak_s=options.soak_s,
                    targets=_targets(minimum),
                )
                for name, percent, minimum in _WEEKS
            ),
            approval_expires_s=600.0,
            stall_s=60.0,
        ),
        reconcile=ReconcileSettings(grace_s=2.0, rechecks=3, recheck_s=0.3, every_s=60.0),
    )


def _targets(minimum_events: int) -> Targets:
    confidence = Targets().confidence
    # With none of n missing the exact lower bound of the share is (1 - confidence)^(1/n).
    shown = (1 - confidence) ** (1 / minimum_events)
    return Targets(
        minimum_events=minimum_events,
        delivery=math.floor(shown * 1_000) / 1_000,
        error_for_s=4.0,
        latency_for_s=8.0,
    )
