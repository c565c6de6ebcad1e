"""One partition's way to a subscriber, and what the switch reports of it."""

from enum import Enum
from typing import NamedTuple

from crossfade.core.event import Stream

__all__ = [
    "REALTIME",
    "WEBSOCKET",
    "FellBack",
    "Phase",
    "Route",
    "SwitchFact",
    "SwitchFailed",
    "Switched",
]

WEBSOCKET = "websocket"
REALTIME = "realtime"


class Switched(NamedTuple):
    """A partition was cut over to ``to``."""

    topic: str
    partition: int
    to: str
    generation: int
    took_ms: int


class SwitchFailed(NamedTuple):
    """A move to ``to`` took too long; the partition stays where it was."""

    topic: str
    partition: int
    to: str
    generation: int
    reason: str


class FellBack(NamedTuple):
    """Realtime's partitions of ``topic`` went back to WebSocket without any flag."""

    topic: str
    partitions: tuple[int, ...]
    reason: str


SwitchFact = Switched | SwitchFailed | FellBack


class Phase(Enum):
    """STEADY on one side; OVERLAP while the new side is tried; DRAIN behind the cut."""

    STEADY = "steady"
    OVERLAP = "overlap"
    DRAIN = "drain"


class Route:
    """Where one partition is listened to. ``side`` is believed, ``target`` is what flags ask."""

    __slots__ = (
        "attempts",
        "away",
        "failed",
        "generation",
        "not_before_ms",
        "number",
        "phase",
        "proven",
        "side",
        "since_ms",
        "snapshot",
        "target",
        "topic",
    )

    def __init__(self, topic: str, number: int) -> None:
        self.topic = topic
        self.number = number
        self.side = WEBSOCKET
        self.target = WEBSOCKET
        self.phase = Phase.STEADY
        self.generation = 0
        self.since_ms = 0
        self.not_before_ms = 0
        self.proven = False
        self.snapshot: dict[Stream, int] | None = None
        self.failed = False
        self.away = False
        self.attempts = 0

    @property
    def place(self) -> tuple[str, int]:
        """Topic and partition."""
        return self.topic, self.number

    @property
    def pending(self) -> bool:
        """Whether a move is owed or under way that has not yet failed."""
        return self.side != self.target and not self.failed and not self.away

    def wants(self, via: str) -> bool:
        """Whether it is to be listened to on ``via`` now."""
        # Behind a cut the old side, during an overlap the new one: either is the other one.
        return via == self.side or self.phase is not Phase.STEADY

    def start(self, generation: int, now_ms: int) -> None:
        """Begin the move to the target."""
        self.phase = Phase.OVERLAP
        self.generation = generation
        self.since_ms = now_ms
        self.proven = False
        self.snapshot = None

    def cut(self, now_ms: int) -> None:
        """The new side has shown all there was: believe it."""
        self.side = self.target
        self.phase = Phase.DRAIN
        self.since_ms = now_ms
        self.failed = self.away = False
        self.attempts = 0

    def keep(self, not_before_ms: int) -> None:
        """Stay on the old side, and try again later."""
        self.phase = Phase.STEADY
        self.failed = True
        self.attempts += 1
        self.not_before_ms = not_before_ms

    def fall_back(self, not_before_ms: int) -> None:
        """WebSocket, now; the way back opens at ``not_before_ms``."""
        self.side = WEBSOCKET
        self.phase = Phase.STEADY
        self.away = self.target == REALTIME
        self.not_before_ms = not_before_ms
