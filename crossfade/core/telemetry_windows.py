"""Reports of all instances, added up into windows of time.

An evaluation must stay cheap after seven days and with a hundred instances: so reports are
added once, into the window that is open, and into one running total since the evidence
began; a rule about the last five minutes merges a handful of windows. Mutable for that
reason (a frozen state would copy every histogram at every report); no clock, no I/O.

A report counts where it is *received*, by the server's clock, so that clocks of instances
do not matter. One whose interval began before the current evidence is left out.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from crossfade.core.telemetry import Report, Role
from crossfade.core.telemetry_totals import UsageTotal, Window

__all__ = [
    "MAX_INSTANCES",
    "MAX_UNSAVED",
    "Instance",
    "TelemetryWindows",
]

MAX_INSTANCES = 5_000
"""Most instances that are told apart; those silent for longest are forgotten first."""
MAX_UNSAVED = 10_000
"""Most closed windows that wait to be stored."""


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance's last report and when the server received it."""

    report: Report
    received_us: int


class TelemetryWindows:
    """The instances, the windows of the recent past, and the total since the evidence began.

    Args:
        start_us: now.
        width_us: how long a window is; ``keep_us``: for how long closed ones are kept.
        live_us: an instance silent for longer is not live, and covers nothing.
    """

    def __init__(self, start_us: int, *, width_us: int, keep_us: int, live_us: int) -> None:
        self.width_us = width_us
        self.keep_us = keep_us
        self.live_us = live_us
        self.since_us = start_us
        self.total = Window(start_us, start_us)
        self.instances: dict[str, Instance] = {}
        """By name: those that follow the flags."""
        self.services: dict[str, Instance] = {}
        """By name: those that do not (``Role.follows_flags``)."""
        self._open = Window(start_us, start_us + width_us)
        self._closed: deque[Window] = deque()
        self._unsaved: deque[Window] = deque(maxlen=MAX_UNSAVED)
        self._heard_us: dict[str, int] = {}

    def restore(self, windows: Iterable[Window], instances: Iterable[Instance]) -> None:
        """Take in what an earlier life of the server stored, oldest window first."""
        for window in windows:
            if window.from_us >= self.since_us:
                self.total.merge(window)
            self._closed.append(window)
        for instance in instances:
            self.instances[instance.report.instance] = instance

    def fit(self, width_us: int, keep_us: int) -> None:
        """Change the width of windows, the open one's too, and for how long they are kept."""
        self.width_us, self.keep_us = width_us, keep_us
        self._open.to_us = min(self._open.to_us, self._open.from_us + width_us)

    def begin(self, since_us: int, now_us: int) -> None:
        """Start the total anew: only what is reported after ``since_us`` counts."""
        self.cut(now_us)
        self.since_us = since_us
        self.total = Window(since_us, now_us)
        for window in self._closed:
            if window.from_us >= since_us:
                self.total.merge(window)

    def add(self, report: Report, received_us: int) -> bool:
        """Add a report; False for one that was seen before (a repeated send)."""
        follows = report.role.follows_flags
        known = self.instances if follows else self.services
        before = known.get(report.instance)
        if before is not None and before.report.at_us == report.at_us:
            return False
        self.advance(received_us)
        usage = _usage_since(before, report)
        fresh = received_us - round(report.interval_ms * 1_000) >= self.since_us
        if usage is not None and fresh:
            for window in (self._open, self.total):
                window.usage.setdefault(report.role.value, UsageTotal()).add(usage)
        _remember(known, Instance(report, received_us))
        if not follows:
            return True
        lost = _lost_since(before, report)
        self._cover(report.role, received_us)
        for window in (self._open, self.total):
            if fresh:
                window.add(report)
            window.lost += lost
            window.tells_lost = window.tells_lost or _tells_lost(report)
        self.total.to_us = received_us
        return True

    def advance(self, now_us: int) -> None:
        """Close the open window when it is full."""
        if now_us >= self._open.to_us:
            self.cut(now_us)

    def take_unsaved(self) -> list[Window]:
        """The windows that were closed since the last call, to be stored."""
        unsaved = list(self._unsaved)
        self._unsaved.clear()
        return unsaved

    def put_back(self, windows: Iterable[Window]) -> None:
        """Windows that could not be stored; beyond ``MAX_UNSAVED`` the oldest are dropped."""
        later = self.take_unsaved()
        self._unsaved.extend((*windows, *later))

    def live(self, now_us: int) -> list[Instance]:
        """Instances heard of within ``live_us``."""
        return self._heard(self.instances, now_us)

    def live_services(self, now_us: int) -> list[Instance]:
        """Services heard of within ``live_us``."""
        return self._heard(self.services, now_us)

    def _heard(self, known: Mapping[str, Instance], now_us: int) -> list[Instance]:
        return [one for one in known.values() if now_us - one.received_us <= self.live_us]

    def covered_us(self, kind: str, now_us: int) -> int:
        """For how long since ``since_us`` a ``publisher`` or a ``reader`` was heard of."""
        covered_us = self.total.covered_us.get(kind, 0)
        heard_us = self._heard_us.get(kind)
        if heard_us is not None and self.since_us <= heard_us >= now_us - self.live_us:
            covered_us += now_us - heard_us
        return covered_us

    def trailing(self, now_us: int, count: int, width_us: int) -> list[Window]:
        """The last ``count`` sub-windows of ``width_us``, oldest first.

        Nothing from before ``since_us`` is in them. A window belongs to the sub-window that
        holds its middle.
        """
        start_us = now_us - count * width_us
        found = [
            Window(start_us + number * width_us, start_us + (number + 1) * width_us)
            for number in range(count)
        ]
        for window in reversed((*self._closed, self._open)):
            middle_us = (window.from_us + min(window.to_us, now_us)) // 2
            if window.from_us < self.since_us or middle_us < start_us:
                break
            number = min(count - 1, (middle_us - start_us) // width_us)
            found[number].merge(window)
        return found

    def cut(self, now_us: int) -> None:
        """Close the open window now and begin another."""
        window = self._open
        window.to_us = max(window.from_us, min(window.to_us, now_us))
        self._open = Window(now_us, now_us + self.width_us)
        # A window without an instance's report is kept out (seven quiet days are not 20,000
        # rows); what the services used meanwhile counts with the next one that is kept.
        if window.reports or window.lost:
            self._closed.append(window)
            self._unsaved.append(window)
        else:
            self._open.usage = window.usage
        while self._closed and self._closed[0].to_us < now_us - self.keep_us:
            self._closed.popleft()

    def _cover(self, role: Role, received_us: int) -> None:
        kind = "publisher" if role is Role.PUBLISHER else "reader"
        from_us = max(self._heard_us.get(kind, 0), self.since_us)
        gap_us = received_us - from_us
        if 0 < gap_us <= self.live_us:
            for window in (self._open, self.total):
                window.covered_us[kind] = window.covered_us.get(kind, 0) + gap_us
        self._heard_us[kind] = received_us


def _remember(known: dict[str, Instance], instance: Instance) -> None:
    known[instance.report.instance] = instance
    if len(known) > MAX_INSTANCES:
        silent = min(known.values(), key=lambda one: one.received_us)
        del known[silent.report.instance]


def _tells_lost(report: Report) -> bool:
    return report.role is not Role.PUBLISHER and "lost" in report.totals


def _lost_since(before: Instance | None, report: Report) -> int:
    """Events given up since the previous report; a counter that fell was started anew."""
    if not _tells_lost(report):
        return 0
    now = report.totals["lost"]
    earlier = before.report.totals.get("lost", 0) if before is not None else 0
    return now - earlier if now >= earlier else now


def _usage_since(before: Instance | None, report: Report) -> UsageTotal | None:
    """Since the previous report; a processor time that fell is a process started anew."""
    now = report.resources
    if "cpu_s" not in now:
        return None
    found = UsageTotal(rss_bytes=now.get("rss_bytes", 0.0), fds=now.get("fds", 0.0))
    earlier = None if before is None else before.report.resources.get("cpu_s")
    if earlier is not None and now["cpu_s"] >= earlier:
        found.observed_s = report.interval_ms / 1_000
        found.cpu_s = now["cpu_s"] - earlier
    return found
