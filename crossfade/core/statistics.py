"""Exact bounds, a sequential test, latency histograms, and "above the limit for so long".

Small samples lie: at a true error rate of 0.5 % the naive "more than 5 % of the window"
trips by chance on most days. So a rollback needs a sequential test to conclude *and* every
sub-window above the limit; a promotion needs an exact confidence bound.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

from crossfade.core.telemetry import Histogram

__all__ = [
    "HISTOGRAM_MAX_MS",
    "HISTOGRAM_MIN_MS",
    "HistogramBuilder",
    "merge",
    "observe",
    "quantile",
]

HISTOGRAM_MIN_MS = 0.01
HISTOGRAM_MAX_MS = 1e9
"""Everything longer (11 days) falls into this bucket, so that a histogram has 520 at most."""

_GROWTH = 1.05
_LOG_GROWTH = math.log(_GROWTH)
MAX_SUB_WINDOWS = 5
"""An interval of a "for so long" rule is cut into at most this many sub-windows."""


class Rate(NamedTuple):
    """``failures`` of ``n`` observations."""

    failures: int
    n: int

    @property
    def share(self) -> float:
        """failures / n; 0 when there was nothing."""
        return self.failures / self.n if self.n else 0.0


class HistogramBuilder:
    """Collects latencies between two reports. Mutable, because it sees every event."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def observe(self, value_ms: float, count: int = 1) -> None:
        """Add ``count`` observations of ``value_ms`` milliseconds.

        Negative values (clocks of two machines) count as 0.

        Raises:
            ValueError: not a number.
        """
        number = _bucket(value_ms)
        self._counts[number] = self._counts.get(number, 0) + count

    def take(self) -> Histogram:
        """What was collected since the last ``take``; starts anew."""
        counts, self._counts = self._counts, {}
        return Histogram({str(number): count for number, count in counts.items()})


def observe(histogram: Histogram, *values_ms: float) -> Histogram:
    """``histogram`` with more observations, in milliseconds (see ``HistogramBuilder``)."""
    builder = HistogramBuilder()
    for value in values_ms:
        builder.observe(value)
    return merge((histogram, builder.take()))


def merge(histograms: Iterable[Histogram]) -> Histogram:
    """The histogram of all observations together."""
    counts: dict[str, int] = {}
    for histogram in histograms:
        for number, count in histogram.counts.items():
            counts[number] = counts.get(number, 0) + count
    return Histogram(counts)


def quantile(histogram: Histogram, share: float) -> float | None:
    """The value in milliseconds that ``share`` (0 to 1) of the observations do not exceed.

    Nearest rank, within ± 2.5 %; None when there is no observation.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share must be 0 to 1, is {share}")
    rank = max(1, math.ceil(share * histogram.n - 1e-9))
    seen = 0
    for number in sorted(map(int, histogram.counts)):
        seen += histogram.counts[str(number)]
        if seen >= rank:
            low, high = _GROWTH**number, _GROWTH ** (number + 1)
            # The harmonic middle has the same relative error at both ends of the bucket.
            return 2.0 * low * high / (low + high)
    return None


def _bucket(value_ms: float) -> int:
    if math.isnan(value_ms):
        raise ValueError("a latency must be a number of milliseconds, is NaN")
    bounded = min(max(value_ms, HISTOGRAM_MIN_MS), HISTOGRAM_MAX_MS)
    return math.floor(math.log(bounded) / _LOG_GROWTH)
