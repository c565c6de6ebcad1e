"""Checks a project and this machine before a rollout: every check measures, none changes anything.

Each check has a time-out and a line of its own, and runs whatever the others find. The decisions
are in ``core.doctor``; the rollout's preflight runs the same checks.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from crossfade.adapters.clock import SystemClock
from crossfade.adapters.control import ControlClient
from crossfade.adapters.migrations import find_migrations
from crossfade.adapters.stores import SqliteJournalReader
from crossfade.adapters.supabase import SupabaseEventStore
from crossfade.adapters.supabase_project import Facts, SupabaseProject
from crossfade.canary import send_canary
from crossfade.core import doctor as judge
from crossfade.core.event import Stream
from crossfade.core.finding import Finding, Level, green, list_or_green, red
from crossfade.core.plans import PlanLimits, Traffic, plan_named
from crossfade.errors import ControlDenied, CrossfadeError, PortTaken
from crossfade.ports import Clock
from crossfade.settings import ControlSettings, Settings

__all__ = ["CHECKS", "Examination", "examine"]

CHECK_S = 30.0
"""Longest time of one check."""
ANSWER_S = 5.0

_BY_CHOICE = ("anon: crossfade_fill_v1", "anon: may_receive_v1")
"""Public streams: somebody granted it, and the line ``anon`` says so."""
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What is examined, and for what.

    ``plan`` is the Supabase plan (None: the one of ``relay.plan``); ``traffic`` and ``status``
    spare asking the control server; ``percent`` is how far the rollout is to go; ``count_rows``
    has the canary look at the API's row limit too.
    """

    settings: Settings
    plan: PlanLimits | None = None
    traffic: Traffic | None = None
    status: Mapping[str, Any] | None = None
    percent: float = 100.0
    count_rows: bool = True
    clock: Clock = field(default_factory=SystemClock)


async def examine(what: Examination, names: Iterable[str] | None = None) -> list[Finding]:
    """Run the checks of these names (default: all of ``CHECKS``) at once; their lines in order.

    Never raises for what a check meets: that is a line.
    """
    chosen = [name for name in CHECKS if names is None or name in set(names)]
    found = await asyncio.gather(*(_guarded(name, CHECKS[name], what) for name in chosen))
    return [line for lines in found for line in lines]


async def _guarded(
    name: str, check: Callable[[Examination], Awaitable[list[Finding]]], what: Examination
) -> list[Finding]:
    try:
        async with asyncio.timeout(CHECK_S):
            return await check(what)
    except TimeoutError:
        return [red(name, f"no result within {CHECK_S:g} s", "try again", broken=True)]
    except CrossfadeError as error:
        return [red(name, str(error), "see the message", broken=True)]
    except Exception as error:  # noqa: BLE001 - one broken check must not hide the others
        return [
            red(
                name,
                f"the check broke: {type(error).__name__}",
                "report this as a bug",
                broken=True,
            )
        ]


async def _keys(what: Examination) -> list[Finding]:
    section = what.settings.supabase
    return judge.judge_keys(
        section.anon_key.get_secret_value(),
        section.service_role_key.get_secret_value(),
        section.access_token.get_secret_value(),
        what.clock.now_us() / 1e6,
    )


async def _project(what: Examination) -> list[Finding]:
    try:
        async with SupabaseProject.of(what.settings.supabase) as project:
            await project.health()  # opens the connection, so that the clock is read without it
            began_us = what.clock.now_us()
            facts = await project.facts()
            ended_us = what.clock.now_us()
    except CrossfadeError as error:
        return [_unreachable(str(error))]
    skew_ms = ((began_us + ended_us) / 2 - facts.now_us) / 1_000
    lines = [green("supabase", f"answers; PostgreSQL {facts.postgres}"), *_schema(facts)]
    call_ms = what.settings.relay.timeout_s * 1_000
    lines.append(judge.judge_timeouts(facts.timeouts, call_ms))
    lines.append(judge.judge_clock(skew_ms))
    return lines


def _unreachable(reason: str) -> Finding:
    if "PGRST202" in reason or "42883" in reason:
        return red(
            "migrations", "the schema, or a part of it, is missing", "`crossfade supabase migrate`"
        )
    if "HTTP 401" in reason or "42501" in reason:
        return red(
            "supabase",
            f"refuses the service role's key: {reason}",
            "set supabase.service_role_key to the project's own",
        )
    return red("supabase", reason, "check supabase.url, and whether the project is paused")


def _schema(facts: Facts) -> list[Finding]:
    again = "`crossfade supabase migrate --again`"
    return [
        judge.judge_migrations(facts.migration, find_migrations()[-1].version),
        list_or_green(
            "row_level_security",
            facts.open_tables,
            "on for every table",
            "off for",
            f"{again}; for realtime.messages: alter table … enable row level security",
        ),
        list_or_green(
            "functions",
            [
                *(one for one in facts.open_functions if one not in _BY_CHOICE),
                *(f"{one} (search_path)" for one in facts.unfixed_functions),
            ],
            "each may be called by whom it is for",
            "open beyond the protocol, or without a fixed search_path",
            again,
        ),
        green("realtime_send", "realtime.send is there")
        if facts.realtime_send
        else red("realtime_send", "realtime.send is missing", "enable Realtime in the project"),
        green("private_channels", "the policy crossfade_receive is there")
        if facts.receive_policy
        else red("private_channels", "nobody may join: crossfade_receive is missing", again),
        green("partition_today", "realtime.messages takes rows")
        if facts.partition_today
        else red(
            "partition_today",
            "realtime.messages has no partition for today: sends would be lost without a word",
            "connect a Realtime client once; the server then makes it",
        ),
    ]


async def _anon(what: Examination) -> list[Finding]:
    """What the publishable key can do by itself: nothing."""
    section = what.settings.supabase
    key = section.anon_key.get_secret_value()
    try:
        async with SupabaseEventStore(section.url, key, timeout_s=section.timeout_s) as store:
            await store.fill(Stream("crossfade-doctor", 1, "crossfade-doctor", 0), 1, 1)
    except CrossfadeError as error:
        if "42501" in str(error):
            return [green("anon", "is known, and may do nothing by itself")]
        action = "set supabase.anon_key to the project's own"
        if "PGRST202" in str(error) or "42883" in str(error):
            # There is no such function: nothing is wrong with the key.
            action = "apply the schema: `crossfade supabase migrate`"
        return [red("anon", str(error), action)]
    return [
        Finding(
            name="anon",
            level=Level.AMBER,
            detail="anybody with the publishable key may read events",
            action="unless you want it, revoke crossfade_fill_v1 from anon",
        )
    ]


async def _canary(what: Examination) -> list[Finding]:
    return await send_canary(what.settings.supabase, what.clock, count_rows=what.count_rows)


async def _quota(what: Examination) -> list[Finding]:
    relay = what.settings.relay
    plan = what.plan or (plan_named(relay.plan) if relay.plan else None)
    if relay.messages_per_s and what.plan is None:
        # Raised by Supabase's support, or a server of one's own.
        own = plan or plan_named("self-hosted")
        plan = own._replace(name="own limit", messages_per_s=round(relay.messages_per_s))
    traffic = what.traffic
    if traffic is None:
        status = what.status
        if status is None:
            with contextlib.suppress(CrossfadeError):
                async with ControlClient(what.settings.control, role="operator") as control:
                    status = await control.status()
        instances: Sequence[Mapping[str, Any]] = status["instances"] if status else ()
        traffic = judge.traffic_of(
            instances,
            batches_per_s=1 / relay.poll_s,
            heads_per_s=1 / relay.heads_s,
            frame_limit_bytes=relay.frame_limit_bytes,
        )
    return [
        judge.judge_quota(plan, traffic, what.percent),
        judge.judge_frame_limit(plan, relay.frame_limit_bytes),
        judge.judge_channels(plan, len(what.settings.topics)),
    ]


async def _control(what: Examination) -> list[Finding]:
    section = what.settings.control
    if what.status is None:
        try:
            async with ControlClient(section, role="operator") as control:
                await control.status()
        except CrossfadeError as error:
            return [red("control", str(error), "start it (`crossfade up`); check its token")]
    nobody = ControlSettings(url=section.url, timeout_s=section.timeout_s)
    try:
        async with ControlClient(nobody, role="operator") as stranger:
            await stranger.status()
    except ControlDenied:
        return [green("control", f"{section.url} answers, and asks for its token")]
    except CrossfadeError as error:
        return [red("control", str(error), "try again", broken=True)]
    return [
        red(
            "control",
            f"{section.url} lets anybody in",
            "set control.operator_token and control.instance_token",
        )
    ]


async def _prefect(what: Examination) -> list[Finding]:
    url = what.settings.prefect.api_url.rstrip("/")
    if not url:
        return [
            red("prefect", "no server is configured", "set prefect.api_url, or PREFECT_API_URL")
        ]
    try:
        async with httpx.AsyncClient(timeout=ANSWER_S, trust_env=False) as client:
            health = await client.get(f"{url}/health")
            stranger = await client.post(f"{url}/work_pools/filter", json={})
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        return [red("prefect", f"{url} does not answer: {reason}", "start it (`crossfade up`)")]
    if stranger.status_code in (401, 403):
        return [green("prefect", f"{url} answers, and asks for credentials")]
    if not health.is_success or not stranger.is_success:
        return [red("prefect", f"{url}: HTTP {stranger.status_code}", "is it Prefect 3?")]
    if urlsplit(url).hostname in _LOOPBACK:
        return [
            Finding(
                name="prefect",
                level=Level.AMBER,
                detail=f"{url} answers anybody on this machine",
                action="whoever can log in here may approve; set PREFECT_SERVER_API_AUTH_STRING",
            )
        ]
    return [
        red(
            "prefect",
            f"{url} lets anybody approve",
            "set PREFECT_SERVER_API_AUTH_STRING, or put it behind a gateway",
        )
    ]


async def _websocket(what: Examination) -> list[Finding]:
    url = what.settings.websocket.url
    place = urlsplit(url)
    port = place.port or (443 if place.scheme == "wss" else 80)
    try:
        async with asyncio.timeout(ANSWER_S):
            _, writer = await asyncio.open_connection(place.hostname, port)
    except (OSError, TimeoutError) as error:
        reason = str(error) or "no answer in time"
        return [red("websocket", f"{url} does not listen: {reason}", "start the legacy server")]
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return [green("websocket", url)]


async def _journal(what: Examination) -> list[Finding]:
    path = what.settings.journal.path
    try:
        count = await asyncio.to_thread(_streams, path)
    except CrossfadeError as error:
        return [red("journal", str(error), "start the application with its Publisher")]
    return [green("journal", f"{path}: {count} streams", float(count), "streams")]


def _streams(path: Path) -> int:
    with contextlib.closing(SqliteJournalReader(path)) as journal:
        return len(journal.streams())


async def _disk(what: Examination) -> list[Finding]:
    path = what.settings.journal.path.absolute()
    folder = next(place for place in path.parents if place.is_dir())
    usage = await asyncio.to_thread(shutil.disk_usage, folder)
    return [judge.judge_disk(str(path), usage.free)]


async def _ports(what: Examination) -> list[Finding]:
    from crossfade.local.addresses import check_free

    stack = what.settings.stack
    if (stack.state / "stack.json").is_file():
        return [green("ports", f"a stack runs in {stack.state}")]
    fixed = {
        name: port
        for name in ("postgres", "supabase", "hub", "control", "prefect")
        if (port := getattr(stack, f"{name}_port"))
    }
    taken = []
    for name, port in fixed.items():
        try:
            check_free(name, port)
        except PortTaken:
            taken.append(f"{name} {port}")
    fine = f"{', '.join(map(str, fixed.values()))} are free" if fixed else "free ones are taken"
    return [
        list_or_green(
            "ports", taken, fine, "in use", "choose others in [stack], or 0 for free ones"
        )
    ]


CHECKS: Mapping[str, Callable[[Examination], Awaitable[list[Finding]]]] = {
    "keys": _keys,
    "project": _project,
    "anon": _anon,
    "canary": _canary,
    "quota": _quota,
    "control": _control,
    "prefect": _prefect,
    "websocket": _websocket,
    "journal": _journal,
    "disk": _disk,
    "ports": _ports,
}
"""Every check, in the order of the lines."""
