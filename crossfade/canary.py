"""A canary event through table and Realtime, and back; nothing of it stays."""

import asyncio
import uuid
from collections.abc import Sequence

from pydantic import SecretStr

from crossfade.adapters.realtime import RealtimeTransport
from crossfade.adapters.supabase_project import SupabaseProject
from crossfade.core.doctor import judge_latency
from crossfade.core.event import Event, Head, Stream, content_hash
from crossfade.core.finding import Finding, green, red
from crossfade.core.switch import Coverage
from crossfade.errors import CrossfadeError
from crossfade.ports import Clock
from crossfade.settings import SupabaseSettings

__all__ = ["CANARY", "send_canary"]

CANARY = "crossfade-doctor"
"""Source and topic of canaries: no publisher has them, so no subscriber meets one."""

JOIN_S = 12.0
"""The server holds back a join's refusal for 5 s, and the connection may take as long."""
ARRIVE_S = 4.0
SENDS = 3
"""A project on which nobody was connected starts its replication with the first join; what is
committed before it runs is never sent live."""
ROWS = 1_001
"""One more than the rows at which PostgREST cuts an answer on a hosted project."""


class _Ears:
    """Hears what the transport tells; implements ``ports.Listener``."""

    def __init__(self) -> None:
        self.heard: dict[int, Event] = {}
        self.changed = asyncio.Event()
        self.is_joined = False
        self.refusal = ""

    def events(self, via: str, events: Sequence[Event]) -> None:
        self.heard.update({event.epoch + event.sequence: event for event in events})
        self.changed.set()

    def joined(self, via: str, coverage: Coverage | None) -> None:
        self.is_joined = coverage is None or CANARY in coverage
        self.changed.set()

    def failed(self, via: str, reason: str) -> None:
        self.refusal = reason
        self.changed.set()

    def left(self, via: str, reason: str) -> None:
        self.failed(via, reason)

    def heads(self, via: str, heads: Sequence[Head], coverage: Coverage | None) -> None:
        """Canaries have none."""

    def met(self, via: str, heads: Sequence[Head]) -> None:
        """Canaries have none."""

    async def room(self) -> None:
        """There is always room."""

    async def until_joined(self) -> bool:
        try:
            async with asyncio.timeout(JOIN_S):
                while not self.is_joined and not self.refusal:
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            self.refusal = f"no answer to the join in {JOIN_S:g} s"
        return self.is_joined

    async def until_heard(self, key: int) -> bool:
        try:
            async with asyncio.timeout(ARRIVE_S):
                while key not in self.heard:
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            return False
        return True


async def send_canary(
    section: SupabaseSettings, clock: Clock, *, count_rows: bool = True
) -> list[Finding]:
    """Join a private channel with the server's key, ingest an event, hear it, fill it, remove it.

    Args:
        count_rows: also look whether an answer of more than 1,000 rows comes back whole.

    Returns:
        The lines ``realtime`` (the channel can be joined), ``canary`` (with its latency in ms)
        and ``row_limit``. Never raises for a project that fails.
    """
    ears = _Ears()
    found: list[Finding] = []
    try:
        async with (
            SupabaseProject.of(section) as project,
            RealtimeTransport(_as_server(section), ears) as transport,
        ):
            transport.want([CANARY])
            if not await ears.until_joined():
                found.append(
                    red(
                        "realtime",
                        f"a private channel can not be joined: {ears.refusal}",
                        "enable Realtime in the project's settings; check the keys",
                    )
                )
            else:
                found.append(green("realtime", "a private channel was joined"))
            try:
                found += await _round_trip(project, ears, clock)
                if count_rows:
                    found.append(await _whole(project, clock))
            finally:
                await project.forget_canary()
    except CrossfadeError as error:
        missing = {"realtime", "canary"} | ({"row_limit"} if count_rows else set())
        for name in sorted(missing - {one.name for one in found}):
            found.append(red(name, str(error), "mend the lines above first", broken=True))
    return found


async def _round_trip(project: SupabaseProject, ears: _Ears, clock: Clock) -> list[Finding]:
    epoch = clock.now_us()
    for number in range(1, SENDS + 1):
        event = _event(epoch, number)
        began_ms = clock.monotonic_ms()
        result = await project.ingest([event])
        if result.warnings or not result.frames:
            reason = "; ".join(result.warnings) or "no frame was written"
            return [red("canary", f"stored, but not sent live: {reason}", _SENDING)]
        page = await project.fill(event.stream, number, number)
        if page.events != [event]:
            return [
                red(
                    "canary", "the table does not give back what was stored", "report this as a bug"
                )
            ]
        if not ears.is_joined:
            return [red("canary", "stored, but nobody could listen", "mend realtime first")]
        if await ears.until_heard(epoch + number):
            if ears.heard[epoch + number] != event:
                return [red("canary", "Realtime delivered another content", "report this as a bug")]
            return [judge_latency(float(clock.monotonic_ms() - began_ms))]
    return [
        red(
            "canary",
            f"stored {SENDS} times, and none arrived live within {ARRIVE_S:g} s",
            "look at the project's Realtime logs: its replication connection is down, or a quota "
            "is used up",
        )
    ]


_SENDING = "connect a Realtime client once (it makes the day's partitions); read Postgres's log"


async def _whole(project: SupabaseProject, clock: Clock) -> Finding:
    epoch = clock.now_us()
    events = [_event(epoch, number) for number in range(1, ROWS + 1)]
    await project.ingest(events, live=False)
    count = await project.digest_count(Stream(CANARY, epoch, CANARY, 0), ROWS)
    if count != ROWS:
        return red(
            "row_limit",
            f"{count:,} of {ROWS:,} rows came back",
            "call the functions through PostgREST as it is shipped; set no row limit on functions",
        )
    return green("row_limit", f"an answer of {ROWS:,} rows comes back whole", float(count), "rows")


def _event(epoch: int, sequence: int) -> Event:
    event = Event(
        id=f"{CANARY}-{uuid.uuid4()}",
        source=CANARY,
        type="crossfade.canary",
        time_us=epoch,
        subject="",
        category=CANARY,
        topic=CANARY,
        partition=0,
        epoch=epoch,
        sequence=sequence,
        data='{"canary":true}',
        hash=0,
    )
    return event._replace(hash=content_hash(event))


def _as_server(section: SupabaseSettings) -> SupabaseSettings:
    """Whom the canary listens as: the server's key may join every private channel."""
    return section.model_copy(update={"access_token": SecretStr("")})
