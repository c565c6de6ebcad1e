"""What was reported in one window of time, added up: per sink, per transport, per role.

Mutable, because a report is added in place (``telemetry_windows`` says why); no clock, no I/O.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crossfade.core.statistics import Rate
from crossfade.core.telemetry import Histogram, Report, Role, SinkWindow, TransportWindow

__all__ = ["SinkTotal", "TransportTotal", "UsageTotal", "Window"]


@dataclass(slots=True)
class SinkTotal:
    """All publishers' calls to one sink in a window."""

    calls: int = 0
    failures: int = 0
    slow: int = 0
    connect_failures: int = 0
    events: int = 0
    latency_ms: dict[str, int] = field(default_factory=dict)

    def add(self, one: "SinkTotal | SinkWindow") -> None:
        """Add another total, or what one report says."""
        self.calls += one.calls
        self.failures += one.failures
        self.slow += one.slow
        self.connect_failures += one.connect_failures
        self.events += one.events
        _add_counts(self.latency_ms, _counts(one.latency_ms))

    @property
    def rate(self) -> Rate:
        """Failures of calls."""
        return Rate(self.failures, self.calls)


@dataclass(slots=True)
class TransportTotal:
    """One role's deliveries by one transport in a window."""

    received: int = 0
    delivered: int = 0
    cohort: int = 0
    duplicates: int = 0
    reconnects: int = 0
    latency_ms: dict[str, int] = field(default_factory=dict)

    def add(self, one: "TransportTotal | TransportWindow") -> None:
        """Add another total, or what one report says."""
        self.received += one.received
        self.delivered += one.delivered
        self.cohort += one.cohort
        self.duplicates += one.duplicates
        self.reconnects += one.reconnects
        _add_counts(self.latency_ms, _counts(one.latency_ms))

    @property
    def latency(self) -> Histogram:
        """Latencies in milliseconds."""
        return Histogram(self.latency_ms)


@dataclass(slots=True)
class UsageTotal:
    """What one role's processes used: time observed and processor time add up, the rest peaks.

    ``cpu_s`` of ``observed_s`` is the share of one core that a process of this role takes.
    """

    observed_s: float = 0.0
    cpu_s: float = 0.0
    rss_bytes: float = 0.0
    fds: float = 0.0

    def add(self, one: "UsageTotal") -> None:
        """Add another total."""
        self.observed_s += one.observed_s
        self.cpu_s += one.cpu_s
        self.rss_bytes = max(self.rss_bytes, one.rss_bytes)
        self.fds = max(self.fds, one.fds)


@dataclass(slots=True)
class Window:
    """Everything reported between two times (microseconds since 1970).

    ``transports`` is keyed by ``role/transport``, e.g. ``tap/realtime``. ``covered_us`` says
    for how long at least one ``publisher``, and at least one ``reader`` (subscriber or tap),
    was heard of. ``lost`` counts events that readers gave up; ``tells_lost`` whether any
    reader reports that figure at all. ``usage`` is keyed by role.
    """

    from_us: int
    to_us: int
    reports: int = 0
    lost: int = 0
    tells_lost: bool = False
    sinks: dict[str, SinkTotal] = field(default_factory=dict)
    transports: dict[str, TransportTotal] = field(default_factory=dict)
    categories: dict[str, int] = field(default_factory=dict)
    covered_us: dict[str, int] = field(default_factory=dict)
    usage: dict[str, UsageTotal] = field(default_factory=dict)

    def add(self, report: Report) -> None:
        """Add what one report counted in its interval."""
        self.reports += 1
        for name, sink in report.sinks.items():
            self.sinks.setdefault(name, SinkTotal()).add(sink)
        for name, transport in report.transports.items():
            key = f"{report.role.value}/{name}"
            self.transports.setdefault(key, TransportTotal()).add(transport)
        _add_counts(self.categories, report.categories)

    def merge(self, other: "Window") -> None:
        """Add another window's figures; the times stay."""
        self.reports += other.reports
        self.lost += other.lost
        self.tells_lost = self.tells_lost or other.tells_lost
        for name, sink in other.sinks.items():
            self.sinks.setdefault(name, SinkTotal()).add(sink)
        for name, transport in other.transports.items():
            self.transports.setdefault(name, TransportTotal()).add(transport)
        _add_counts(self.categories, other.categories)
        _add_counts(self.covered_us, other.covered_us)
        for name, usage in other.usage.items():
            self.usage.setdefault(name, UsageTotal()).add(usage)

    def sink(self, name: str) -> SinkTotal:
        """The sink's total; an empty one when nobody reported it."""
        return self.sinks.get(name) or SinkTotal()

    def transport(self, role: Role, name: str) -> TransportTotal:
        """The transport's total for ``role``; an empty one when nobody reported it."""
        return self.transports.get(f"{role.value}/{name}") or TransportTotal()

    def deliveries(self, name: str) -> TransportTotal:
        """What subscribers got by a transport: pages' where no other subscriber reports.

        A tab on a busy computer says nothing of the transport (ADR 18).
        """
        told = any(key.startswith(f"{Role.SUBSCRIBER.value}/") for key in self.transports)
        return self.transport(Role.SUBSCRIBER if told else Role.PAGE, name)

    def to_json(self) -> dict[str, Any]:
        """The window as JSON values."""
        return {
            "from_us": self.from_us,
            "to_us": self.to_us,
            "reports": self.reports,
            "lost": self.lost,
            "tells_lost": self.tells_lost,
            "sinks": {name: _fields(one) for name, one in self.sinks.items()},
            "transports": {name: _fields(one) for name, one in self.transports.items()},
            "categories": dict(self.categories),
            "covered_us": dict(self.covered_us),
            "usage": {name: _fields(one) for name, one in self.usage.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Window":
        """Read what ``to_json`` wrote.

        Raises:
            KeyError, TypeError: when it is not such a document.
        """
        known = dict(value)
        known["sinks"] = {name: SinkTotal(**one) for name, one in known["sinks"].items()}
        known["transports"] = {
            name: TransportTotal(**one) for name, one in known["transports"].items()
        }
        known["usage"] = {name: UsageTotal(**one) for name, one in known.get("usage", {}).items()}
        return cls(**known)


def _add_counts(into: dict[str, int], counts: Mapping[str, int]) -> None:
    for key, count in counts.items():
        into[key] = into.get(key, 0) + count


def _counts(latency: Histogram | dict[str, int]) -> Mapping[str, int]:
    return latency.counts if isinstance(latency, Histogram) else latency


def _fields(one: SinkTotal | TransportTotal | UsageTotal) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__slots__}
