"""A reader's connections to Supabase Realtime: one more for every hundred topics.

A connection holds ``MAX_CHANNELS`` channels, and each topic is one. Whoever follows more opens
more connections; to the listener they are one transport. A topic stays where it is as long as it
is wanted, so that a change of one moves no other.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

from pydantic import SecretStr

from crossfade.adapters.realtime import MAX_CHANNELS, RealtimeTransport
from crossfade.core.event import Event, Head
from crossfade.core.plans import READER_CONNECTIONS
from crossfade.core.switch import Coverage
from crossfade.ports import Listener
from crossfade.settings import SupabaseSettings

__all__ = ["RealtimePool"]

_log = logging.getLogger("crossfade.realtime")

_Maker = Callable[[SupabaseSettings, Listener], RealtimeTransport]


class RealtimePool:
    """An async context manager; used like one ``RealtimeTransport``.

    Args:
        listener: told everything. ``joined`` names the topics of every connection; when one of
            several is lost, ``left`` is told and at once ``joined`` with what still stands.
        make: a transport for one connection.
    """

    def __init__(self, settings: SupabaseSettings, listener: Listener, make: _Maker) -> None:
        self._settings = settings
        self._listener = listener
        self._make = make
        self._members: list[_Member] = []
        self._left: frozenset[str] = frozenset()

    @property
    def connected(self) -> bool:
        """Whether any channel is joined."""
        return any(member.transport.connected for member in self._members)

    @property
    def joined(self) -> frozenset[str]:
        """The topics whose channels are joined."""
        return frozenset().union(*(member.transport.joined for member in self._members))

    @property
    def connections(self) -> int:
        """How many connections had a channel joined."""
        return sum(member.transport.connections for member in self._members)

    @property
    def dropped_frames(self) -> int:
        """Frames that found a queue full."""
        return sum(member.transport.dropped_frames for member in self._members)

    def want(self, topics: Iterable[str]) -> None:
        """Listen to the channels of these topics, and to no others.

        Above ``READER_CONNECTIONS`` times ``MAX_CHANNELS`` the rest is never joined (and so stays
        on WebSocket), which is logged once.
        """
        named = frozenset(topics)
        for member in self._members:
            member.topics &= named
        kept = frozenset().union(*(member.topics for member in self._members))
        new = sorted(named - kept)
        while new:
            room = next((one for one in self._members if len(one.topics) < MAX_CHANNELS), None)
            if room is None:
                if len(self._members) == READER_CONNECTIONS:
                    break
                room = self._open()
            free = MAX_CHANNELS - len(room.topics)
            room.topics |= frozenset(new[:free])
            del new[:free]
        left = frozenset(new)
        if left - self._left:
            _log.error(
                "%d topics are not listened to by Realtime: %d connections of %d channels are full",
                len(left),
                READER_CONNECTIONS,
                MAX_CHANNELS,
            )
        self._left = left
        for member in self._members:
            member.transport.want(member.topics)

    async def refresh(self, token: str) -> None:
        """Take a fresh access token, on every connection."""
        self._settings = self._settings.model_copy(update={"access_token": SecretStr(token)})
        await asyncio.gather(*(member.transport.refresh(token) for member in self._members))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.gather(
            *(member.transport.__aexit__(kind, error, trace) for member in self._members)
        )

    def _open(self) -> "_Member":
        member = _Member(self._listener, self)
        member.transport = self._make(self._settings, member)
        member.transport.start()
        self._members.append(member)
        return member


class _Member:
    """One connection, and what it tells made into what the pool tells."""

    transport: RealtimeTransport

    def __init__(self, listener: Listener, pool: RealtimePool) -> None:
        self.topics: frozenset[str] = frozenset()
        self._listener = listener
        self._pool = pool
        self.events: Callable[[str, Sequence[Event]], None] = listener.events
        self.heads: Callable[[str, Sequence[Head], Coverage | None], None] = listener.heads
        self.met: Callable[[str, Sequence[Head]], None] = listener.met
        self.failed: Callable[[str, str], None] = listener.failed
        self.room = listener.room

    def joined(self, via: str, coverage: Coverage | None) -> None:
        self._listener.joined(via, dict.fromkeys(self._pool.joined))

    def left(self, via: str, reason: str) -> None:
        self._listener.left(via, reason)
        rest = self._pool.joined
        if rest:
            self._listener.joined(via, dict.fromkeys(rest))
