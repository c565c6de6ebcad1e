"""The rollout machine: frozen state and command in, new state and facts out; no clock, no I/O."""

from crossfade.core.rollout.apply import apply, start
from crossfade.core.rollout.back import FLOW_ACTOR
from crossfade.core.rollout.commands import Command, Fact, command_from_json
from crossfade.core.rollout.decide import Action, Decision, decide, overdue
from crossfade.core.rollout.plan import AUTOMATION, PERSON, Plan, Stage, Targets, percent_of
from crossfade.core.rollout.state import (
    Approval,
    Drill,
    DrillRecord,
    Phase,
    Rollout,
    flags_of,
)
from crossfade.core.rollout.watch import MONITOR, due

__all__ = [
    "AUTOMATION",
    "FLOW_ACTOR",
    "MONITOR",
    "PERSON",
    "Action",
    "Approval",
    "Command",
    "Decision",
    "Drill",
    "DrillRecord",
    "Fact",
    "Phase",
    "Plan",
    "Rollout",
    "Stage",
    "Targets",
    "apply",
    "command_from_json",
    "decide",
    "due",
    "flags_of",
    "overdue",
    "percent_of",
    "start",
]
