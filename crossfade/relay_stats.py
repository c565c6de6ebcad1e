"""What a relay counts between two reports of telemetry."""

from crossfade.core.breaker import Outcome
from crossfade.core.statistics import HistogramBuilder, merge
from crossfade.core.telemetry import Histogram, SinkWindow

__all__ = ["SinkStats"]

_ERROR_CHARACTERS = 300


class SinkStats:
    """Counters that start anew when they are taken, and can be put back if nobody got them."""

    def __init__(self, slow_call_ms: float) -> None:
        self._slow_call_ms = slow_call_ms
        self._latency = HistogramBuilder()
        self._kept = SinkWindow()
        self._calls = self._failures = self._slow = self._unreachable = self._events = 0
        self.last_error = ""

    def called(self, outcome: Outcome, latency_ms: float, events: int, error: str) -> None:
        """Count one call; ``events`` is what it delivered."""
        self._calls += 1
        self._failures += outcome in (Outcome.FAILURE, Outcome.UNREACHABLE)
        self._unreachable += outcome is Outcome.UNREACHABLE
        self._slow += latency_ms > self._slow_call_ms
        self._events += events
        self._latency.observe(latency_ms)
        if error:
            self.last_error = error[:_ERROR_CHARACTERS]

    def take(
        self, *, owed: int, oldest_owed_ms: float, breaker: str, probes_failed: int
    ) -> SinkWindow:
        """Everything since the last ``take``."""
        kept = self._kept
        window = SinkWindow(
            calls=kept.calls + self._calls,
            failures=kept.failures + self._failures,
            slow=kept.slow + self._slow,
            connect_failures=kept.connect_failures + self._unreachable,
            events=kept.events + self._events,
            owed=owed,
            oldest_owed_ms=oldest_owed_ms,
            breaker=breaker,
            probes_failed=probes_failed,
            latency_ms=merge((kept.latency_ms, self._latency.take())),
            last_error=self.last_error,
        )
        self._kept = SinkWindow(latency_ms=Histogram())
        self._calls = self._failures = self._slow = self._unreachable = self._events = 0
        return window

    def put_back(self, window: SinkWindow) -> None:
        """The report was not delivered: count it into the next one."""
        self._kept = window
