"""What must hold before a stage may raise the flags, each check a measurement.

A check that could not be made is ERROR, never PASS; every detail says what to do.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from crossfade.adapters.control import ControlClient
from crossfade.adapters.stores import SqliteJournalReader
from crossfade.adapters.supabase import SupabaseEventStore
from crossfade.core.telemetry import Role
from crossfade.core.verdict import Measurement, Verdict
from crossfade.errors import CrossfadeError, StoreError, UsageError
from crossfade.settings import Settings

__all__ = ["preflight"]

_CONNECT_S = 5.0


async def preflight(settings: Settings, control: ControlClient) -> list[Measurement]:
    """Check control server, hub, Supabase, journal, instances and flags; all at once.

    Never raises for a check that fails: its measurement says so. Takes a few seconds at most.
    """
    status, hub, supabase, journal = await asyncio.gather(
        _status(control), _hub(settings.websocket.url), _supabase(settings), _journal(settings)
    )
    checks = [hub, supabase, journal]
    if isinstance(status, str):
        return [_check("control", Verdict.ERROR, status), *checks]
    live = [one for one in status["instances"] if one["live"]]
    return [
        _check("control", Verdict.PASS, settings.control.url),
        *checks,
        _live(live, Role.PUBLISHER, "start the application with its Publisher"),
        _live(live, Role.SUBSCRIBER, "start a Subscriber, or wait until one has reported"),
        _flags(status["flags"], live),
    ]


async def _status(control: ControlClient) -> dict[str, Any] | str:
    try:
        return await control.status()
    except CrossfadeError as error:
        return str(error)


async def _hub(url: str) -> Measurement:
    place = urlsplit(url)
    port = place.port or (443 if place.scheme == "wss" else 80)
    try:
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_connection(place.hostname, port)
    except (OSError, TimeoutError) as error:
        reason = str(error) or "no answer in time"
        return _check("websocket", Verdict.FAIL, f"{url} does not listen: {reason}")
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return _check("websocket", Verdict.PASS, url)


async def _supabase(settings: Settings) -> Measurement:
    section = settings.supabase
    key = section.service_role_key.get_secret_value()
    try:
        async with SupabaseEventStore(section.url, key, timeout_s=section.timeout_s) as store:
            health = await store.health()
    except (StoreError, UsageError) as error:
        return _check("supabase", Verdict.FAIL, str(error))
    if not health.partition_today:
        return _check(
            "supabase",
            Verdict.FAIL,
            "realtime.messages has no partition for today: sends would be lost without a word",
        )
    return _check("supabase", Verdict.PASS, f"migration {health.migration}")


async def _journal(settings: Settings) -> Measurement:
    path = settings.journal.path
    try:
        count = await asyncio.to_thread(_streams, path)
    except CrossfadeError as error:
        return _check("journal", Verdict.FAIL, str(error))
    return _check("journal", Verdict.PASS, f"{path}: {count} streams", n=count)


def _streams(path: Path) -> int:
    with contextlib.closing(SqliteJournalReader(path)) as journal:
        return len(journal.streams())


def _live(live: list[Mapping[str, Any]], role: Role, advice: str) -> Measurement:
    found = sum(1 for one in live if one["role"] == role)
    return Measurement(
        name=f"live_{role.value}s",
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


def _check(name: str, verdict: Verdict, detail: str, n: int = 1) -> Measurement:
    return Measurement(
        name=name,
        value=1.0 if verdict is Verdict.PASS else 0.0,
        limit=1.0,
        n=n,
        unit="",
        verdict=verdict,
        relation="==",
        detail=detail,
    )
