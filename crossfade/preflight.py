"""What must hold before a stage may raise the flags, each check a measurement.

The checks are the doctor's (``crossfade.doctor``), and three that need a running application. A
check that could not be made is ERROR, never PASS; every detail says what to do.
"""

from collections.abc import Mapping
from typing import Any

from crossfade.adapters.control import ControlClient
from crossfade.core.telemetry import Role
from crossfade.core.verdict import Measurement, Verdict
from crossfade.doctor import Examination, examine
from crossfade.errors import CrossfadeError
from crossfade.settings import Settings

__all__ = ["CHECKS", "preflight"]

CHECKS = ("keys", "project", "canary", "quota", "control", "websocket", "journal", "disk")
"""Of the doctor's: those that can have changed since the last stage."""


async def preflight(settings: Settings, control: ControlClient) -> list[Measurement]:
    """Check control server, hub, Supabase, journal, disk, instances and flags; all at once.

    Sends a canary through table and Realtime. Never raises for a check that fails: its
    measurement says so. Takes a few seconds; at most half a minute when something hangs.
    """
    try:
        status = await control.status()
    except CrossfadeError as error:
        names = [name for name in CHECKS if name not in ("control", "quota")]
        found = await examine(Examination(settings=settings, count_rows=False), names)
        lost = Measurement(
            name="control",
            value=0.0,
            limit=1.0,
            n=1,
            unit="",
            verdict=Verdict.ERROR,
            relation="==",
            detail=str(error),
        )
        return [*(one.to_measurement() for one in found), lost]
    what = Examination(settings=settings, status=status, percent=_percent(status), count_rows=False)
    live = [one for one in status["instances"] if one["live"]]
    return [
        *(one.to_measurement() for one in await examine(what, CHECKS)),
        _live(live, "publisher", (Role.PUBLISHER,), "start the application with its Publisher"),
        _live(
            live,
            "subscriber",
            (Role.SUBSCRIBER, Role.PAGE),
            "start a Subscriber, or wait until one has reported",
        ),
        _flags(status["flags"], live),
    ]


def _percent(status: Mapping[str, Any]) -> float:
    """How far the stage at hand is to go: the largest percentage of its categories."""
    rollout = status.get("rollout")
    if not rollout:
        return 100.0
    return float(max(rollout["stages"][rollout["stage"]]["percent"].values(), default=100.0))


def _live(
    live: list[Mapping[str, Any]], name: str, roles: tuple[Role, ...], advice: str
) -> Measurement:
    found = sum(1 for one in live if one["role"] in roles)
    return Measurement(
        name=f"live_{name}s",
        value=float(found),
        limit=1.0,
        n=found,
        unit="instances",
        verdict=Verdict.PASS if found else Verdict.FAIL,
        relation=">=",
        detail="" if found else advice,
    )


def _flags(flags: Mapping[str, Any], live: list[Mapping[str, Any]]) -> Measurement:
    """Whether every live instance knows the flags as they are: only then will it know a rise."""
    version = int(flags["version"])
    behind = [one["instance"] for one in live if int(one["flag_version"]) != version]
    detail = f"flags {version}"
    if behind:
        detail += f" not yet at {', '.join(sorted(behind)[:5])}"
    return Measurement(
        name="flags",
        value=float(len(behind)),
        limit=0.0,
        n=len(live),
        unit="instances behind",
        verdict=Verdict.FAIL if behind or flags.get("kill") else Verdict.PASS,
        relation="==",
        detail="the kill flag is set" if flags.get("kill") else detail,
    )
