"""Exact bounds, a sequential test, latency histograms, and "above the limit for so long".

Small samples lie: at a true error rate of 0.5 % the naive "more than 5 % of the window"
trips by chance on most days. So a rollback needs a sequential test to conclude *and* every
sub-window above the limit; a promotion needs an exact confidence bound.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from crossfade.core.telemetry import Histogram
from crossfade.core.verdict import Verdict

__all__ = [
    "HISTOGRAM_MAX_MS",
    "HISTOGRAM_MIN_MS",
    "HistogramBuilder",
    "Rate",
    "merge",
    "observe",
    "proportion_lower",
    "proportion_upper",
    "quantile",
    "sprt",
    "sustained_above",
]

HISTOGRAM_MIN_MS = 0.01
HISTOGRAM_MAX_MS = 1e9
"""Everything longer (11 days) falls into this bucket, so that a histogram has 520 at most."""

_GROWTH = 1.05
_LOG_GROWTH = math.log(_GROWTH)


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


def proportion_lower(hits: int, n: int, confidence: float) -> float:
    """The exact one-sided lower bound of a proportion after ``hits`` of ``n``.

    With probability ``confidence`` the true proportion is at least this (Clopper and
    Pearson 1934). 2,995 of 2,995 at 95 % are the fewest that show more than 99.9 %.
    """
    _check_counts(hits, n, confidence)
    if hits == 0:
        return 0.0
    return _beta_quantile(1.0 - confidence, hits, n - hits + 1)


def proportion_upper(hits: int, n: int, confidence: float) -> float:
    """The exact one-sided upper bound; 1 when there was nothing (see ``proportion_lower``)."""
    _check_counts(hits, n, confidence)
    if hits == n:
        return 1.0
    return _beta_quantile(confidence, hits + 1, n - hits)


def sprt(
    rate: Rate, *, healthy: float, broken: float, alpha: float = 1e-6, beta: float = 0.05
) -> Verdict:
    """Wald's sequential probability ratio test (1945) between two true failure rates.

    FAIL: ``broken`` is the better explanation (wrong with probability ≤ ``alpha`` when the
    truth is ``healthy``, however often one looks); PASS: ``healthy`` is (wrong with
    probability ≤ ``beta``); INCONCLUSIVE: go on.
    """
    if not 0.0 < healthy < broken < 1.0:
        raise ValueError(f"need 0 < healthy < broken < 1, got {healthy} and {broken}")
    _check_counts(rate.failures, rate.n, 0.5)
    evidence = rate.failures * math.log(broken / healthy) + (rate.n - rate.failures) * math.log(
        (1.0 - broken) / (1.0 - healthy)
    )
    if evidence >= math.log((1.0 - beta) / alpha):
        return Verdict.FAIL
    if evidence <= math.log(beta / (1.0 - alpha)):
        return Verdict.PASS
    return Verdict.INCONCLUSIVE


def sustained_above(windows: Sequence[Rate], limit: float) -> bool:
    """Whether *every* sub-window had observations and lay strictly above ``limit``.

    "5 % for 5 minutes" is this rule over the sub-windows of 5 minutes: a burst that fills
    only some of them does not trip it, however bad it was.
    """
    return bool(windows) and all(window.share > limit for window in windows)


def _check_counts(hits: int, n: int, confidence: float) -> None:
    if not 0 <= hits <= n:
        raise ValueError(f"need 0 ≤ hits ≤ n, got {hits} of {n}")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must be between 0 and 1, is {confidence}")


def _beta_quantile(share: float, a: float, b: float) -> float:
    # Imported here: it takes longer than everything else in the core together.
    from scipy.special import betaincinv

    return float(betaincinv(a, b, share))
