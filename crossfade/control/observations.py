"""What the server knows of the instances: in memory, mirrored into rows."""

from sqlalchemy.exc import SQLAlchemyError

from crossfade.control.records import RecordStore
from crossfade.core.evaluation import (
    StoredReconciliation,
    evaluate,
    snapshot,
    window_width_us,
)
from crossfade.core.evidence import Evidence
from crossfade.core.rollout import Rollout
from crossfade.core.telemetry import Report
from crossfade.core.telemetry_totals import Window
from crossfade.core.telemetry_windows import Instance, TelemetryWindows
from crossfade.settings import ControlSettings

__all__ = ["Observations"]

_OPEN = ("open", "forced_open")
_KEEP_US = 60_000_000


class Observations:
    """Telemetry windows, instances and the last conclusive reconciliation.

    Methods that only touch memory are called on the event loop; ``load`` and ``save`` read
    and write rows and are called in threads, one at a time.
    """

    def __init__(self, settings: ControlSettings, records: RecordStore, now_us: int) -> None:
        self._settings = settings
        self._records = records
        self.windows = TelemetryWindows(
            now_us,
            width_us=30_000_000,
            keep_us=_KEEP_US,
            live_us=round(settings.live_s * 1e6),
        )
        self.reconciliation: StoredReconciliation | None = None
        self.reports = 0
        """Reports taken in since the start."""
        self.counted = Window(now_us, now_us)
        """Everything reported since the start, whatever the rollout did."""

    def load(self, rollout: Rollout | None, now_us: int) -> None:
        """Take in what an earlier life of the server stored."""
        since_us = now_us if rollout is None else rollout.evidence_since_us
        self._fit(rollout)
        self.windows.since_us = since_us
        oldest_us = min(since_us, now_us - self.windows.keep_us)
        self.windows.restore(self._records.windows(oldest_us), self._records.instances())
        self.reconciliation = self._records.conclusive()

    def add(self, report: Report, now_us: int) -> bool:
        """Take in a report; whether it may call for a rollback and must be looked at now."""
        lost = self.windows.total.lost
        if not self.windows.add(report, now_us):
            return False
        self.reports += 1
        if not report.role.follows_flags:
            return False
        self.counted.add(report)
        self.counted.lost += self.windows.total.lost - lost
        opened = any(sink.breaker in _OPEN for sink in report.sinks.values())
        return opened or self.windows.total.lost > lost

    def follow(self, rollout: Rollout | None, now_us: int) -> None:
        """Start the evidence anew when the rollout did."""
        self._fit(rollout)
        if rollout is not None and rollout.evidence_since_us != self.windows.since_us:
            self.windows.begin(rollout.evidence_since_us, now_us)

    def evidence(
        self,
        rollout: Rollout,
        flag_version: int,
        now_us: int,
        reconciliation: StoredReconciliation | None = None,
    ) -> Evidence:
        """The evidence as of now; with another reconciliation than the last if one is given."""
        self.follow(rollout, now_us)
        self.windows.advance(now_us)
        found = snapshot(self.windows, rollout.current.targets, flag_version, now_us)
        return evaluate(rollout, found, reconciliation or self.reconciliation, now_us)

    def unsaved(self, now_us: int) -> tuple[list[Window], list[Instance]]:
        """Closed windows and the instances heard of since they began; nothing when none closed."""
        self.windows.advance(now_us)
        windows = self.windows.take_unsaved()
        if not windows:
            return [], []
        from_us = windows[0].from_us
        recent = [one for one in self.windows.instances.values() if one.received_us >= from_us]
        return windows, recent

    def save(self, windows: list[Window], instances: list[Instance]) -> None:
        """Store them; windows that can not be stored now are kept for the next time."""
        try:
            self._records.add_telemetry(windows, instances)
        except SQLAlchemyError:
            self.windows.put_back(windows)
            raise

    def _fit(self, rollout: Rollout | None) -> None:
        targets = [] if rollout is None else [stage.targets for stage in rollout.plan.stages]
        longest_s = max((max(one.error_for_s, one.latency_for_s) for one in targets), default=0.0)
        self.windows.fit(window_width_us(targets), _KEEP_US + round(longest_s * 2e6))
