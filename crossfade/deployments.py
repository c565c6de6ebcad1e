"""Prefect's deployments of a plan: one week for each of its stages, whatever their number.

``prefect.yaml`` of the repository holds the default plan's three weeks beside everything else;
here its weeks are replaced by those of the plan in force. Two ways lead here: ``python -m
tasks.deployment``, and ``crossfade plan --deployments`` for whoever prefers Prefect's own
``prefect deploy --all``.
"""

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from crossfade.core.rollout import Plan
from crossfade.core.rollout.plan import AUTOMATION
from crossfade.errors import UsageError
from crossfade.settings import Settings

__all__ = ["deployment_document", "document_text", "intervals_of", "read", "week_name"]

_WEEK = "week-"
_HEADER = """# Prefect's deployments for the plan, written by `crossfade plan --deployments`.
#
#     prefect work-pool create POOL --type process
#     prefect deploy --all
#
# Write it again when the plan's stages, the pool or the schedules change.
"""


def week_name(stage: int) -> str:
    """The deployment that drives a stage (from 0): the first is ``week-1``."""
    return f"{_WEEK}{stage + 1}"


def intervals_of(settings: Settings) -> dict[str, float]:
    """Seconds between scheduled runs, by deployment, as the settings say."""
    return {
        "validate": settings.reconcile.every_s,
        "report": settings.prefect.report_every_s,
    }


def read(file: Path) -> dict[str, Any]:
    """What a ``prefect.yaml`` holds.

    Raises:
        UsageError: it can not be read, or is not such a file.
    """
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{file}: can not be read: {' '.join(str(error).split())}") from error
    entries = found.get("deployments") if isinstance(found, dict) else None
    if not isinstance(entries, list) or not any(map(_is_week, entries)):
        raise UsageError(f"{file}: holds no deployment named {_WEEK}1")
    document: dict[str, Any] = found
    return document


def deployment_document(
    document: Mapping[str, Any], plan: Plan, pool: str, intervals: Mapping[str, float]
) -> dict[str, Any]:
    """``prefect.yaml`` with the plan's weeks, another pool and other intervals.

    What a week's entry says besides its text, parameters and trigger (job variables, say) is
    kept from the entry of its name, or else from the first week's. Prefect takes no ``{{ … }}``
    in a schedule's interval, so this is how the settings get there.

    Args:
        document: what the file holds.
        intervals: seconds between scheduled runs, by the deployment's name.
    """
    found = copy.deepcopy(dict(document))
    known = {one["name"]: one for one in found["deployments"] if _is_week(one)}
    first = next(iter(known.values()))
    place = found["deployments"].index(first)
    others = [one for one in found["deployments"] if not _is_week(one)]
    weeks = [
        _week(plan, stage, copy.deepcopy(known.get(week_name(stage), first)))
        for stage in range(len(plan.stages))
    ]
    found["deployments"] = [*others[:place], *weeks, *others[place:]]
    for one in found["deployments"]:
        one["work_pool"] = {**one["work_pool"], "name": pool}
        for schedule in one.get("schedules", ()):
            # A deployment that a user added goes on by the schedule that it has.
            if (interval := intervals.get(one["name"])) is not None:
                schedule["interval"] = interval
    return found


def document_text(document: Mapping[str, Any]) -> str:
    """The document as a file for people: YAML without anchors, texts as blocks."""
    text: str = yaml.dump(
        {key: value for key, value in document.items() if key != "definitions"},
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=100,
    )
    return _HEADER + text


def _is_week(one: Mapping[str, Any]) -> bool:
    return re.fullmatch(rf"{_WEEK}[0-9]+", str(one.get("name"))) is not None


def _week(plan: Plan, stage: int, known: dict[str, Any]) -> dict[str, Any]:
    """The entry of a stage's week, from one that is known."""
    known.pop("triggers", None)
    return {
        **known,
        "name": week_name(stage),
        "description": _description(plan, stage),
        "tags": ["crossfade", "week"],
        "parameters": {"stage": stage},
        # A person starts the first.
        **({"triggers": [_trigger(stage)]} if stage else {}),
    }


def _description(plan: Plan, number: int) -> str:
    stage = plan.stages[number]
    by_itself = stage.promote == AUTOMATION
    begin = "Run it once the rollout was started."
    if number and stage.start == AUTOMATION:
        begin = f"It starts by itself once {week_name(number - 1)} was approved."
    elif number:
        begin = f"Run it once {week_name(number - 1)} was approved."
    last = number == len(plan.stages) - 1
    parts = [
        f"**Stage {number + 1} of {len(plan.stages)}, {stage.name}**: {_shares(plan, number)}. "
        "Preflight → ramp → soak → reconciliation → "
        f"{'the next stage, without asking anybody' if by_itself else 'your approval'}.",
        begin + " Running it again is harmless: it goes on where the rollout stands.",
    ]
    if not by_itself:
        parts.append(
            "When it is *Suspended* it waits for you: choose **Resume** in the run's menu (⋮) and "
            "read the evidence in the form."
        )
    if last:
        parts.append(
            "Its approval completes the rollout; WebSocket goes on beside it until it is "
            "switched off."
        )
    return "\n\n".join(parts) + "\n"


def _shares(plan: Plan, number: int) -> str:
    stage = plan.stages[number]
    if stage.shadow:
        return "in shadow, everything is written and compared and nobody is served by Realtime"
    shares = ", ".join(
        f"{share:g} %" if key == "*" else f"{key} {share:g} %"
        for key, share in stage.percent.items()
    )
    return f"{shares} on Realtime"


def _trigger(stage: int) -> dict[str, Any]:
    return {
        "type": "event",
        "name": f"crossfade starts week {stage + 1}",
        "description": "The week before was approved, and the plan leaves this one to automation.",
        "enabled": True,
        "posture": "Reactive",
        "expect": ["crossfade.promoted"],
        "match": {"crossfade.stage": str(stage), "crossfade.starts": "automation"},
        "threshold": 1,
        "within": 0,
    }


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML tells no types
    """No anchors, and texts of several lines as blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _block)
