"""The switch: which partitions a subscriber wants on which transport, make before break.

Sans-I/O and deterministic: flags, joins, heads and failures go in, facts come out, time and
random numbers are arguments. One ``Switch`` per subscriber; a partition of a topic is what
moves (DESIGN section 5; I3, I5). Correctness does not hang on it — the sequencer takes
anything from both sides — it only decides who is listened to, and when to believe a side.

A move: **overlap** (the new side is opened, the old one kept) → **proven** (a head was
delivered by the new side for the partition's topic; a join acknowledgement alone proves
nothing, except where no stream exists yet) → the heads known then are the snapshot →
**cut** when everything up to them has been delivered → **drain** (the old side is heard a
little longer) → done. A move that takes too long keeps the old side and is reported.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from crossfade.core.flags import Flags
from crossfade.core.flow import Progress
from crossfade.core.route import (
    REALTIME,
    WEBSOCKET,
    FellBack,
    Phase,
    Route,
    Switched,
    SwitchFact,
    SwitchFailed,
)

__all__ = ["Coverage", "Pace", "Switch"]

Coverage = Mapping[str, frozenset[int] | None]
"""Topics and, per topic, the partitions meant; None for all of them."""

ProgressOf = Callable[[str, int], Sequence[Progress]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The switch's times, in milliseconds.

    ``deaf_ms`` without a head, or ``connect_failures`` in a row, make Realtime's partitions
    fall back at once. They come back after ``deaf_ms`` plus a random part of a window that
    starts at ``return_ms`` and doubles up to ``return_max_ms``. Moves that flags ask for
    start after a random part of ``spread_ms``, so that a thousand subscribers do not move
    in the same instant.
    """

    timeout_ms: int = 20_000
    drain_ms: int = 2_000
    deaf_ms: int = 3_000
    connect_failures: int = 3
    return_ms: int = 5_000
    return_max_ms: int = 120_000
    spread_ms: int = 0


class Switch:
    """Moves partitions between the transports; every partition starts on WebSocket."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._flags: Flags | None = None
        self._applied = 0
        self._generation = 0
        self._revision = 0
        self._routes: dict[tuple[str, int], Route] = {}
        self._topics: set[str] = set()
        self._unsettled: dict[Route, None] = {}
        self._joined: dict[str, Coverage] = {WEBSOCKET: {}, REALTIME: {}}
        self._failures = 0
        # Per topic: when Realtime was last known to be well, or nothing was expected of it.
        self._well_ms: dict[str, int] = {}
        self._expecting: set[str] = set()
        self._away: dict[str, tuple[int, int]] = {}

    # -- what comes in -----------------------------------------------------------------

    def follow(self, topic: str, partitions: Iterable[int]) -> None:
        """Follow more partitions of ``topic``; those already followed stay as they are."""
        self._topics.add(topic)
        for number in partitions:
            if (topic, number) in self._routes:
                continue
            route = self._routes[topic, number] = Route(topic, number)
            if self._flags is not None and self._flags.serves(topic, number):
                route.target = REALTIME
                self._unsettled[route] = None
            self._revision += 1

    def flags(self, flags: Flags, now_ms: int, random: float) -> bool:
        """Take new flags; False when they are not newer than those in force.

        ``random`` (0 to 1) spreads the start of the moves over ``spread_ms``.
        """
        if self._flags is not None and flags.version <= self._flags.version:
            return False
        self._flags = flags
        self._generation += 1
        self._revision += 1
        start_ms = now_ms + int(random * self._pace.spread_ms)
        for route in self._routes.values():
            route.target = REALTIME if flags.serves(*route.place) else WEBSOCKET
            # A command from outside: what failed before is tried again at once.
            route.failed = route.away = False
            route.attempts = 0
            route.not_before_ms = start_ms
            if route.phase is Phase.OVERLAP and route.side == route.target:
                route.phase = Phase.STEADY
            if route.side != route.target or route.phase is not Phase.STEADY:
                self._unsettled[route] = None
            else:
                self._unsettled.pop(route, None)
        return True

    def joined(self, via: str, coverage: Coverage) -> None:
        """``via`` acknowledged a subscription; ``coverage`` replaces the earlier one."""
        self._joined[via] = coverage
        if via == REALTIME and coverage:
            self._failures = 0

    def left(self, via: str) -> None:
        """The connection of ``via`` is gone: what it proved, it must prove again."""
        self._joined[via] = {}
        for route in self._unsettled:
            if route.phase is Phase.OVERLAP and route.target == via:
                route.proven = False
                route.snapshot = None

    def failed(self, via: str) -> None:
        """One more attempt in a row to connect ``via`` failed."""
        if via == REALTIME:
            self._failures += 1

    def heard(self, via: str, coverage: Coverage, now_ms: int) -> None:
        """A heads frame was delivered by ``via``, on a subscription that covers this."""
        if via == REALTIME:
            self._failures = 0
            for topic in coverage:
                self._well_ms[topic] = now_ms
        for route in self._unsettled:
            if route.phase is Phase.OVERLAP and route.target == via and _covers(coverage, route):
                route.proven = True

    def step(self, now_ms: int, progress: ProgressOf, random: float) -> list[SwitchFact]:
        """Let time pass; ``progress`` tells where a partition's streams stand."""
        facts: list[SwitchFact] = []
        self._check_realtime(now_ms, progress, random, facts)
        for route in list(self._unsettled):
            if route.phase is Phase.OVERLAP:
                self._overlap(route, now_ms, progress, random, facts)
            elif route.side != route.target:
                if now_ms >= route.not_before_ms:
                    route.start(self._generation, now_ms)
                    self._revision += 1
            elif route.phase is Phase.DRAIN and now_ms - route.since_ms >= self._pace.drain_ms:
                route.phase = Phase.STEADY
                self._revision += 1
            if route.phase is Phase.STEADY and route.side == route.target:
                del self._unsettled[route]
        if self._flags is not None and not any(route.pending for route in self._unsettled):
            self._applied = self._flags.version
        return facts

    # -- what can be asked -------------------------------------------------------------

    @property
    def revision(self) -> int:
        """Changes whenever ``wanted`` does."""
        return self._revision

    @property
    def version(self) -> int:
        """The flags' version that was last taken; -1 before any."""
        return -1 if self._flags is None else self._flags.version

    @property
    def applied(self) -> int:
        """The highest flags' version whose moves are all done, or visibly failed."""
        return self._applied

    @property
    def failures(self) -> int:
        """Partitions whose last move took too long and that still are on the old side."""
        return sum(route.failed for route in self._routes.values())

    @property
    def fallen_back(self) -> int:
        """Partitions that are on WebSocket only because Realtime is deaf or gone."""
        return sum(route.away for route in self._routes.values())

    @property
    def topics(self) -> frozenset[str]:
        """The topics of which any partition is followed."""
        return frozenset(self._topics)

    def followed(self) -> dict[str, frozenset[int]]:
        """The partitions that are followed, per topic."""
        return _by_topic(self._routes.values())

    def wanted(self, via: str) -> dict[str, frozenset[int]]:
        """The partitions to listen to on ``via``, per topic."""
        return _by_topic(route for route in self._routes.values() if route.wants(via))

    def serving(self, via: str) -> dict[str, frozenset[int]]:
        """The partitions whose side is ``via``, per topic."""
        return _by_topic(route for route in self._routes.values() if route.side == via)

    def cohort(self) -> dict[str, frozenset[int]]:
        """The partitions that flags serve by Realtime and that are not being moved now."""
        return _by_topic(
            route
            for route in self._routes.values()
            if route.target == REALTIME and (route.phase is Phase.STEADY or route.failed)
        )

    # -- how it moves ------------------------------------------------------------------

    def _overlap(
        self,
        route: Route,
        now_ms: int,
        progress: ProgressOf,
        random: float,
        facts: list[SwitchFact],
    ) -> None:
        to = route.target
        known = progress(*route.place)
        if not known and _covers(self._joined[to], route) and self._is_led(route, progress):
            # No stream, so there is no head that could be delivered.
            route.proven = True
        if route.proven and route.snapshot is None:
            route.snapshot = {one.stream: one.head for one in known}
        snapshot = route.snapshot
        # A proof of long ago says nothing of a Realtime that is deaf now.
        is_stale = (
            to == REALTIME and bool(known) and self._silent_ms(route, now_ms) > self._pace.deaf_ms
        )
        if (
            snapshot is not None
            and not is_stale
            and all(one.next > snapshot.get(one.stream, 0) for one in known)
        ):
            took_ms = now_ms - route.since_ms
            facts.append(Switched(*route.place, to, route.generation, took_ms))
            route.cut(now_ms)
            if to == REALTIME and known:
                self._expecting.add(route.topic)
                self._well_ms.setdefault(route.topic, now_ms)
            self._revision += 1
        elif now_ms - route.since_ms >= self._pace.timeout_ms:
            reason = f"no head came by {to}" if snapshot is None else "what was due did not come"
            facts.append(SwitchFailed(*route.place, to, route.generation, reason))
            route.keep(now_ms + self._pause_ms(route.attempts, random))
            self._revision += 1

    def _silent_ms(self, route: Route, now_ms: int) -> int:
        """How long Realtime has not been heard for its topic; 0 when it never was."""
        return now_ms - self._well_ms.get(route.topic, now_ms)

    def _is_led(self, route: Route, progress: ProgressOf) -> bool:
        """Whether a partition without a stream may follow its topic on the word of a join.

        Not while one with streams that is bound the same way still waits for a head: what keeps
        that one back (a deaf Realtime) would keep this one's first events from being heard.
        """
        return route.target != REALTIME or not any(
            other.topic == route.topic
            and other.target == REALTIME
            and other.side != REALTIME
            and not other.proven
            and progress(*other.place)
            for other in self._unsettled
        )

    def _check_realtime(
        self, now_ms: int, progress: ProgressOf, random: float, facts: list[SwitchFact]
    ) -> None:
        if self._flags is not None and self._flags.decommissioned:
            return  # WebSocket is switched off: there is nothing to fall back to
        by_topic: dict[str, list[Route]] = {}
        for route in self._routes.values():
            if route.side == REALTIME:
                by_topic.setdefault(route.topic, []).append(route)
        self._expecting &= by_topic.keys()
        for topic, routes in by_topic.items():
            if self._failures >= self._pace.connect_failures:
                reason = f"{self._failures} connections in a row failed"
            else:
                if topic not in self._expecting:
                    if not any(progress(*route.place) for route in routes):
                        continue
                    self._expecting.add(topic)
                    self._well_ms[topic] = now_ms
                silent_ms = now_ms - self._well_ms[topic]
                if silent_ms <= self._pace.deaf_ms:
                    continue
                reason = f"no head for {silent_ms} ms"
            self._fall_back(topic, routes, reason, now_ms, random)
            numbers = tuple(sorted(route.number for route in routes))
            facts.append(FellBack(topic, numbers, reason))

    def _fall_back(
        self, topic: str, routes: list[Route], reason: str, now_ms: int, random: float
    ) -> None:
        level, until_ms = self._away.get(topic, (0, now_ms))
        if now_ms - until_ms > self._pace.return_max_ms:
            level = 0  # it was well for long
        until_ms = now_ms + self._pause_ms(level, random)
        self._away[topic] = (level + 1, until_ms)
        self._revision += 1
        for route in routes:
            route.fall_back(until_ms)
            if route.side != route.target:
                self._unsettled[route] = None

    def _pause_ms(self, level: int, random: float) -> int:
        window_ms = min(self._pace.return_max_ms, self._pace.return_ms << min(level, 20))
        return self._pace.deaf_ms + int(random * window_ms)


def _covers(coverage: Coverage, route: Route) -> bool:
    numbers = coverage.get(route.topic, frozenset())
    return numbers is None or route.number in numbers


def _by_topic(routes: Iterable[Route]) -> dict[str, frozenset[int]]:
    found: dict[str, set[int]] = {}
    for route in routes:
        found.setdefault(route.topic, set()).add(route.number)
    return {topic: frozenset(numbers) for topic, numbers in found.items()}
