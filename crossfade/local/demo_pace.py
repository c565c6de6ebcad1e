"""How fast the demo publishes when: traffic where a week needs evidence, and none wasted."""

from collections.abc import Mapping
from typing import Any

__all__ = ["pace"]

_BUSY = ("ramping", "soaking", "reconciling", "rolling_back", "rolled_back")
"""Phases that need traffic: those that collect evidence, and the outage until it is resumed."""

_QUIET_SHARE = 0.1
_OVER_BUDGET_SHARE = 0.25
_PAUSED = 0.05
"""Events a second while a person thinks."""

# How far into the input each attempt of a week may go at full pace: however slow the machine,
# every week finds events, and the last part is left for after the weeks.
_BUDGETS = {("week-1", 1): 0.2, ("week-2", 1): 0.45, ("week-2", 2): 0.65, ("week-3", 1): 0.88}
_LAST_BUDGET = 0.9


def pace(rate: float, rollout: Mapping[str, Any] | None, published: float) -> float:
    """Events a second: ``rate`` while a week collects evidence, a trickle while nobody looks.

    Args:
        rollout: as the control server tells it; None before there is one.
        published: the share of the input that is published, from 0 to 1.
    """
    if rollout is None:
        return rate * _QUIET_SHARE
    week = str(rollout["stages"][int(rollout["stage"])]["name"])
    within = published < _BUDGETS.get((week, int(rollout["attempt"])), _LAST_BUDGET)
    if rollout["phase"] in _BUSY:
        return rate * (1.0 if within else _OVER_BUDGET_SHARE)
    return rate * _QUIET_SHARE if within else _PAUSED
