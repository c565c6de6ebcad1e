"""Week 2's outage: Supabase and its database die by SIGKILL, and come back.

Every figure is the time between two facts that somebody else could have observed as well:
the kill, and what the control server's status or the journal's file say.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from crossfade.local.demo_observer import DemoFailed, Observer, Status
from crossfade.local.demo_owed import backlog, drained, event_count, owed
from crossfade.local.demo_report import Outage
from crossfade.local.stack import Stack

__all__ = ["SERVICES_KILLED", "run_outage"]

SERVICES_KILLED = ("supabase", "postgres")
SINK = "supabase"
_POLL_S = 0.05
_BREAKER_S = 30.0
_FLAGS_S = 30.0
_ROLLBACK_S = 180.0
_DRAIN_S = 60.0


async def run_outage(
    stack: Stack,
    observer: Observer,
    outage: Outage,
    lasting_s: float,
    handed_over: Callable[[], Mapping[str, int]],
    say: Callable[[str, str], None],
) -> None:
    """Kill, wait, revive, wait until all is drained and the rollback verified; fills ``outage``.

    Args:
        handed_over: how many events each subscriber was handed so far.

    Raises:
        DemoFailed: something that must follow did not; what was measured stays in ``outage``.
    """
    journal = stack.settings.journal.path
    before, published = handed_over(), event_count(journal)
    version = int(observer.status["flags"]["version"])
    began = time.monotonic()
    watching = asyncio.create_task(_watch(observer, outage, began, version, say))
    try:
        await stack.supervisor.kill(*SERVICES_KILLED)
        say("Supabase is gone: its server and its database were killed", "bold red")
        await asyncio.sleep(max(0.0, began + lasting_s - time.monotonic()))
        # It stays away until the breaker has seen it, however slow this machine is.
        await observer.until(lambda _: outage.breaker_open_s is not None, "breaker", _BREAKER_S)
        await stack.supervisor.revive(*reversed(SERVICES_KILLED))
        ended = time.monotonic()
        outage.duration_s = ended - began
        was_owed = backlog(journal, SINK)
        outage.owed_at_end = owed(journal, SINK)
        outage.published_during = event_count(journal) - published
        after = handed_over()
        outage.delivered_during = {name: after[name] - before[name] for name in after}
        say(f"Supabase is back; {outage.owed_at_end:,} events are owed to it", "bold")
        outage.drain_s = await _drain(journal, was_owed, ended)
        say(f"drained after {outage.drain_s:.1f} s", "green")
        await watching
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _watch(
    observer: Observer,
    outage: Outage,
    began: float,
    version: int,
    say: Callable[[str, str], None],
) -> None:
    def breaker_open(status: Status) -> bool:
        return str(_store(status).get("breaker")) in ("open", "half_open")

    def flag_everywhere(status: Status) -> bool:
        wanted = int(status["flags"]["version"])
        return wanted > version and all(
            int(one["flag_version"]) >= wanted for one in status["instances"]
        )

    def verified(status: Status) -> bool:
        return str((status["rollout"] or {}).get("phase")) == "rolled_back"

    at = await observer.until(breaker_open, "the breaker opens", _BREAKER_S)
    outage.breaker_open_s = at - began
    say(f"the breaker opened after {outage.breaker_open_s:.1f} s", "")
    at = await observer.until(flag_everywhere, "every instance follows the lowered flags", _FLAGS_S)
    outage.flag_applied_s = at - began
    say(f"everybody is back on WebSocket after {outage.flag_applied_s:.1f} s", "")
    at = await observer.until(verified, "the rollback is verified", _ROLLBACK_S)
    outage.rollback_verified_s = at - began
    say(f"the rollback flow verified it after {outage.rollback_verified_s:.1f} s", "green")


async def _drain(journal: Path, was_owed: Mapping[int, int], ended: float) -> float:
    deadline = ended + _DRAIN_S
    while not drained(journal, SINK, was_owed):
        if time.monotonic() > deadline:
            raise DemoFailed(
                f"the journal did not drain within {_DRAIN_S:g} s: "
                f"{owed(journal, SINK)} events are still owed to Supabase"
            )
        await asyncio.sleep(_POLL_S)
    return time.monotonic() - ended


def _store(status: Status) -> Mapping[str, object]:
    found: Mapping[str, object] = (status.get("stores") or {}).get(SINK) or {}
    return found
