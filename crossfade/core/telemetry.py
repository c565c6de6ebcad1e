"""What every instance reports to the control server, about once a second."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

__all__ = [
    "Histogram",
    "Report",
    "Role",
    "SinkWindow",
    "TransportWindow",
    "from_bits",
    "to_bits",
]


class Role(StrEnum):
    """The kinds of instance."""

    PUBLISHER = "publisher"
    SUBSCRIBER = "subscriber"
    PAGE = "page"
    """A subscriber in a browser's tab, which may be slow or asleep for reasons of its own."""
    TAP = "tap"
    HUB = "hub"
    """The legacy server, where it is Crossfade's own."""
    CONTROL = "control"

    @property
    def follows_flags(self) -> bool:
        """Whether its flags matter. The others only tell what they use: nothing waits for them."""
        return self not in (Role.HUB, Role.CONTROL)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Latencies in buckets that grow by 5 % each: mergeable, quantiles within ± 2.5 %.

    ``counts`` maps the bucket's number (as text, so that JSON keeps it) to a count; bucket
    b holds values v in milliseconds with 1.05^b ≤ v < 1.05^(b+1); anything below 0.01 ms
    falls into the bucket of 0.01 ms. The idea is DDSketch's (Masson, Rim, Lee 2019).
    """

    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def n(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkWindow:
    """A publisher's calls to one sink since its last report.

    ``probes_failed``: the probes that failed since its breaker was last closed.
    """

    calls: int = 0
    failures: int = 0
    slow: int = 0
    connect_failures: int = 0
    events: int = 0
    owed: int = 0
    oldest_owed_ms: float = 0.0
    breaker: str = "closed"
    probes_failed: int = 0
    latency_ms: Histogram = Histogram()
    last_error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportWindow:
    """A subscriber's or tap's deliveries by one transport since its last report.

    ``delivered`` counts events that this transport delivered first; ``cohort`` those of
    ``delivered`` whose partition the flags serve by Realtime (adoption is Realtime's share of
    them); ``received`` all frames' events, duplicates too; ``latency_ms`` is from the
    publisher's commit to the hand-over. ``serving`` maps a topic to the partitions that are
    listened to on this transport, as ``to_bits``; empty when the instance does not tell.
    """

    connected: bool = False
    received: int = 0
    delivered: int = 0
    cohort: int = 0
    duplicates: int = 0
    reconnects: int = 0
    head_age_ms: float | None = None
    partitions: int = 0
    serving: Mapping[str, str] = field(default_factory=dict)
    latency_ms: Histogram = Histogram()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One instance's report; counters are since its previous one (``interval_ms``).

    ``totals`` holds counters since the instance's start (``published``, ``delivered``,
    ``lost``, ``conflicts``, ``holes``, ``filled``); ``categories`` counts events per category
    in the interval.
    """

    instance: str
    role: Role
    at_us: int
    interval_ms: float
    flag_version: int
    sinks: Mapping[str, SinkWindow] = field(default_factory=dict)
    transports: Mapping[str, TransportWindow] = field(default_factory=dict)
    categories: Mapping[str, int] = field(default_factory=dict)
    totals: Mapping[str, int] = field(default_factory=dict)
    resources: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {**asdict(self), "role": self.role.value}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Report":
        """Read what ``to_json`` wrote.

        Raises:
            KeyError, TypeError, ValueError: when it is not such a report.
        """
        known = dict(value)
        known["role"] = Role(known["role"])
        known["sinks"] = {
            name: SinkWindow(**{**one, "latency_ms": Histogram(**one["latency_ms"])})
            for name, one in known.get("sinks", {}).items()
        }
        known["transports"] = {
            name: TransportWindow(**{**one, "latency_ms": Histogram(**one["latency_ms"])})
            for name, one in known.get("transports", {}).items()
        }
        return cls(**known)


def to_bits(partitions: Iterable[int]) -> str:
    """A set of partitions as hexadecimal digits of a number whose bit n is partition n."""
    bits = 0
    for number in partitions:
        bits |= 1 << number
    return f"{bits:x}"


def from_bits(text: str) -> frozenset[int]:
    """The partitions that ``to_bits`` wrote.

    Raises:
        ValueError: it is not hexadecimal.
    """
    bits = int(text, 16)
    return frozenset(number for number in range(bits.bit_length()) if bits >> number & 1)
