"""What a subscriber and the tap are made of: control, the store for fills, both transports."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

from pydantic import SecretStr

from crossfade.access_token import AccessToken, TokenSource
from crossfade.core.event import Stream
from crossfade.core.flags import Flags
from crossfade.core.route import REALTIME, WEBSOCKET
from crossfade.core.switch import Coverage, Pace
from crossfade.ports import Clock, FillSource, FlagSource, Listener, Reporter
from crossfade.settings import Settings, SubscriberSettings

if TYPE_CHECKING:
    from crossfade.adapters.legacy_read import LegacyReader
    from crossfade.adapters.realtime_pool import RealtimePool
    from crossfade.adapters.websocket import WebSocketTransport

__all__ = ["Transports", "pace_of", "wire_control", "wire_store", "wire_token", "wire_transports"]


class Transports:
    """Both transports; ``realtime`` is None where no project is configured."""

    def __init__(
        self,
        websocket: "WebSocketTransport | LegacyReader",
        realtime: "RealtimePool | None",
        partitions: int,
    ) -> None:
        self.websocket = websocket
        self.realtime = realtime
        self._partitions = partitions

    @property
    def dropped_frames(self) -> int:
        """Realtime's frames that found the queue full; fills mended them."""
        return 0 if self.realtime is None else self.realtime.dropped_frames

    def connections(self) -> dict[str, int]:
        """How many connections each of them has made."""
        made = 0 if self.realtime is None else self.realtime.connections
        return {WEBSOCKET: self.websocket.connections, REALTIME: made}

    def want(
        self,
        websocket: Mapping[str, frozenset[int]] | None,
        realtime: Mapping[str, frozenset[int]],
    ) -> None:
        """Listen to these partitions from now on (None: to everything)."""
        coverage: Coverage | None = None
        if websocket is not None:
            coverage = {
                topic: None if len(numbers) == self._partitions else numbers
                for topic, numbers in websocket.items()
            }
        self.websocket.want(coverage)
        if self.realtime is not None:
            self.realtime.want(realtime)


async def wire_control(
    exits: AsyncExitStack,
    settings: Settings,
    flags: FlagSource | None,
    reporter: Reporter | None,
) -> tuple[FlagSource, Reporter | None]:
    """What was not given is the control server's, if the settings hold an instance token."""
    nobody = Flags(
        salt=settings.rollout.salt, partitions=settings.rollout.partitions, topics=settings.topics
    )
    has_token = bool(settings.control.instance_token.get_secret_value())
    if has_token and (flags is None or reporter is None):
        from crossfade.adapters.control import ControlClient
        from crossfade.adapters.flag_follower import FlagFollower

        client = await exits.enter_async_context(ControlClient(settings.control))
        if reporter is None:
            reporter = client
        if flags is None:
            flags = await exits.enter_async_context(FlagFollower(client, initial=nobody))
    if flags is None:
        from crossfade.adapters.memory import StaticFlags

        flags = StaticFlags(nobody)
    return flags, reporter


async def wire_token(
    exits: AsyncExitStack, settings: Settings, source: TokenSource | None, clock: Clock
) -> tuple[Settings, AccessToken | None]:
    """The settings with the first access token of ``source`` in them, and who renews it."""
    if source is None or not settings.supabase.url:
        return settings, None
    token = await exits.enter_async_context(AccessToken(source, clock))
    project = settings.supabase.model_copy(update={"access_token": SecretStr(token.value)})
    return settings.model_copy(update={"supabase": project}), token


async def wire_store(
    exits: AsyncExitStack,
    settings: Settings,
    store: FillSource | None,
    token: AccessToken | None = None,
) -> FillSource | None:
    """Where fills come from besides the hub; None where no project is configured."""
    project = settings.supabase
    anon = project.anon_key.get_secret_value()
    key = project.access_token.get_secret_value() or project.service_role_key.get_secret_value()
    if store is not None or not project.url or not (key or (token is not None and anon)):
        # The anon key alone may not fill: asking would only fail.
        return store
    from crossfade.adapters.supabase import SupabaseEventStore

    made = await exits.enter_async_context(
        SupabaseEventStore(project.url, anon or key, access_token=key, timeout_s=project.timeout_s)
    )
    if token is not None:
        token.use(made.set_access_token)
    return made


async def wire_transports(
    exits: AsyncExitStack,
    settings: Settings,
    listener: Listener,
    *,
    role: str,
    instance: str,
    positions: Callable[[], Mapping[Stream, int]],
    legacy: "LegacyReader | None" = None,
    token: AccessToken | None = None,
) -> Transports:
    """Both transports, open; they connect when something is wanted of them.

    ``legacy`` takes the hub's place where the application's own server is listened to.
    """
    from crossfade.adapters.realtime import RealtimeTransport
    from crossfade.adapters.realtime_pool import RealtimePool
    from crossfade.adapters.websocket import WebSocketTransport

    section = settings.subscriber
    websocket = legacy or WebSocketTransport(
        settings.websocket,
        listener,
        role=role,
        instance=instance,
        positions=positions,
        deaf_s=section.deaf_s,
        retry_initial_s=section.retry_initial_s,
        retry_max_s=section.retry_max_s,
    )
    await exits.enter_async_context(websocket)
    realtime = None
    if settings.supabase.url:
        realtime = await exits.enter_async_context(
            RealtimePool(
                settings.supabase,
                listener,
                partial(
                    RealtimeTransport,
                    deaf_s=section.deaf_s,
                    retry_initial_s=section.retry_initial_s,
                    retry_max_s=section.retry_max_s,
                ),
            )
        )
        if token is not None:
            token.use(realtime.refresh)
    return Transports(websocket, realtime, settings.rollout.partitions)


def pace_of(section: SubscriberSettings) -> Pace:
    """The switch's times from the settings."""
    return Pace(
        timeout_ms=round(section.switch_timeout_s * 1_000),
        drain_ms=round(section.drain_s * 1_000),
        deaf_ms=round(section.deaf_s * 1_000),
        connect_failures=section.connect_failures,
        return_ms=round(section.return_initial_s * 1_000),
        return_max_ms=round(section.return_max_s * 1_000),
        spread_ms=round(section.switch_spread_s * 1_000),
    )
