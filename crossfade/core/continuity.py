"""What a subscriber can prove about its own deliveries, per source."""

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from crossfade.core.event import Position, Stream, hash_to_hex

__all__ = ["LOST_RANGES_KEPT", "Continuity", "DeliveryConflict", "Lost", "Tally"]

LOST_RANGES_KEPT = 1_000
"""Lost ranges that a report lists per source; ``lost_events`` counts them all."""

_MASK64 = (1 << 64) - 1


class Lost(NamedTuple):
    """Sequences that no store holds any more: the only gap a subscriber ever hands over.

    ``reason`` is ``retention`` (every store's floor is above) or ``superseded`` (the epoch
    ended with its journal, and no store has them).
    """

    stream: Stream
    first: int
    last: int
    reason: str

    @property
    def events(self) -> int:
        """How many events."""
        return self.last - self.first + 1


class DeliveryConflict(NamedTuple):
    """An event came with another hash than the one held or handed over at its position.

    The first one stays; ``via`` names the transport or store that brought the other.
    """

    position: Position
    kept: int
    offered: int
    via: str


class Tally:
    """Counters of one source while it is followed. Mutable: it is touched per event."""

    __slots__ = (
        "conflicts",
        "duplicates",
        "evicted",
        "first",
        "healed",
        "holes",
        "longest_ms",
        "lost",
        "lost_events",
        "reordered",
        "skipped",
        "total",
    )

    def __init__(self, names: int) -> None:
        self.first = [0] * names
        self.duplicates = [0] * names
        self.healed = [0] * names
        self.conflicts = 0
        self.evicted = 0
        self.holes = 0
        self.longest_ms = 0
        self.lost: list[Lost] = []
        self.lost_events = 0
        self.reordered = 0
        self.skipped = 0
        self.total = 0

    def lose(self, lost: Lost) -> None:
        """Count a lost range."""
        self.lost_events += lost.events
        if len(self.lost) < LOST_RANGES_KEPT:
            self.lost.append(lost)


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuity:
    """One source's report; counters are since the start of the sequencer.

    ``delivered_by`` and ``duplicates`` are per transport or store; ``reordered`` counts
    events that came before one of a lower sequence; a hole is a run of missing sequences
    below something known to exist, ``healed_by`` says whose event (or ``lost``) closed it,
    ``longest_hole_ms`` includes open ones. ``evicted`` events were dropped from the full
    buffer and fetched again; ``skipped`` ones lay below every store's floor when the
    subscriber began at the earliest there is. ``rolling_hash`` is Σ hash mod 2⁶⁴ over the
    delivered events, 16 hexadecimal digits: the same sum as in the stores' digests.
    """

    source: str
    streams: int
    delivered: int
    delivered_by: dict[str, int]
    duplicates: dict[str, int]
    reordered: int
    conflicts: int
    holes: int
    open_holes: int
    healed_by: dict[str, int]
    longest_hole_ms: int
    buffered: int
    evicted: int
    skipped: int
    lost_events: int
    lost: tuple[Lost, ...] = field(default=())
    rolling_hash: str = "0" * 16

    @classmethod
    def of(
        cls,
        source: str,
        tally: Tally,
        names: tuple[str, ...],
        *,
        streams: int,
        open_holes: int,
        buffered: int,
        longest_ms: int,
    ) -> "Continuity":
        """The report from a tally and what stands open now."""
        return cls(
            source=source,
            streams=streams,
            delivered=sum(tally.first),
            delivered_by=_named(names, tally.first),
            duplicates=_named(names, tally.duplicates),
            reordered=tally.reordered,
            conflicts=tally.conflicts,
            holes=tally.holes,
            open_holes=open_holes,
            healed_by=_named(names, tally.healed),
            longest_hole_ms=max(tally.longest_ms, longest_ms),
            buffered=buffered,
            evicted=tally.evicted,
            skipped=tally.skipped,
            lost_events=tally.lost_events,
            lost=tuple(tally.lost),
            rolling_hash=hash_to_hex(tally.total & _MASK64),
        )

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        lost = [[*one.stream, one.first, one.last, one.reason] for one in self.lost]
        return {**asdict(self), "lost": lost}


def _named(names: tuple[str, ...], counts: list[int]) -> dict[str, int]:
    return {name: count for name, count in zip(names, counts, strict=True) if count}
