"""One function per figure: from what the instances told to a measurement against its limit."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from crossfade.core.rollout.plan import Targets
from crossfade.core.statistics import (
    Rate,
    proportion_lower,
    proportion_upper,
    quantile,
    sprt,
    sustained_above,
)
from crossfade.core.telemetry import Histogram, Role, SinkWindow
from crossfade.core.telemetry_totals import Window
from crossfade.core.telemetry_windows import Instance
from crossfade.core.verdict import Measurement, Verdict

__all__ = [
    "MINIMUM_COVERAGE",
    "MINIMUM_LATENCIES",
    "SINK",
    "Snapshot",
    "adoption",
    "applied",
    "breaker",
    "coverage",
    "error_rate",
    "error_rate_sustained",
    "events",
    "latencies",
    "lost",
    "page_load",
    "percent",
    "sub_windows",
]

SINK = "supabase"
"""The sink whose calls are judged; a publisher that does not report it proves nothing."""

MINIMUM_COVERAGE = 0.95
"""Share of the soak for which a publisher and a reader must have been heard of."""

MINIMUM_LATENCIES = 20
"""Fewest observations from which a 95th percentile is judged."""

MINIMUM_PAGES = 5
"""Fewest live pages from which their load time is judged."""

PAGE_LOAD_MS = 2_000.0
"""The strategy's own target: a dashboard shows live data within two seconds."""

PAGE_LOAD_SHARE = 0.75
"""So many pages must keep it (the share that Web Vitals take): the rest may be slow computers."""

_SHORTEST_SUB_WINDOW_S = 2.0
"""Twice the interval of reports, so that a sub-window of live instances is never empty."""

_MOST_SUB_WINDOWS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the instances told, cut to the windows that one stage's targets ask for."""

    live: tuple[Instance, ...]
    flag_version: int
    since_us: int
    covered_us: Mapping[str, int]
    total: Window
    error_windows: tuple[Window, ...]
    latency_windows: tuple[Window, ...]


def sub_windows(for_s: float) -> tuple[int, float]:
    """How many sub-windows a rule "for ``for_s`` seconds" has, and how long each is, in s."""
    count = max(1, min(_MOST_SUB_WINDOWS, int(for_s / _SHORTEST_SUB_WINDOW_S)))
    return count, for_s / count


def applied(found: Snapshot) -> Measurement:
    """Live instances that do not follow the flags in force."""
    behind = [one.report for one in found.live if one.report.flag_version != found.flag_version]
    names = ", ".join(f"{one.instance} has {one.flag_version}" for one in behind[:5])
    more = f" and {len(behind) - 5} more" if len(behind) > 5 else ""
    return Measurement(
        name="applied",
        value=float(len(behind)) if found.live else None,
        limit=0.0,
        n=len(found.live),
        unit="instances behind",
        # Behind is "not yet" (an instance may just have started), no proof of harm.
        verdict=Verdict.PASS if found.live and not behind else Verdict.INCONCLUSIVE,
        detail=f"flags {found.flag_version}" + (f": {names}{more}" if names else ""),
    )


def coverage(found: Snapshot, elapsed_us: int) -> Measurement:
    """The share of the time for which a publisher, and a reader, was heard of."""
    if elapsed_us <= 0:
        shares = dict.fromkeys(found.covered_us, 0.0)
    else:
        shares = {
            kind: min(1.0, covered / elapsed_us) for kind, covered in found.covered_us.items()
        }
    worst_kind = min(shares, key=lambda kind: shares[kind])
    share = shares[worst_kind]
    return Measurement(
        name="coverage",
        value=percent(share),
        limit=percent(MINIMUM_COVERAGE),
        n=found.total.reports,
        unit="%",
        relation=">=",
        # Too little coverage is no proof of harm: it can hold a stage, never fail it.
        verdict=Verdict.PASS if share >= MINIMUM_COVERAGE else Verdict.INCONCLUSIVE,
        detail=f"time for which a {worst_kind} was heard of",
    )


def events(found: Snapshot, targets: Targets) -> Measurement:
    """Events written since the evidence began: enough to conclude anything?"""
    events = found.total.sink(SINK).events
    return Measurement(
        name="events",
        value=float(events) if SINK in found.total.sinks else None,
        limit=float(targets.minimum_events),
        n=events,
        unit="events",
        relation=">=",
        verdict=Verdict.PASS if events >= targets.minimum_events else Verdict.INCONCLUSIVE,
        detail=f"written to {SINK} since this attempt's evidence began",
    )


def error_rate(found: Snapshot, targets: Targets) -> Measurement:
    """Failed calls of the whole soak, by exact bounds: what promotes."""
    rate = found.total.sink(SINK).rate
    verdict, detail = Verdict.INCONCLUSIVE, f"no calls to {SINK} reported"
    if rate.n:
        upper = proportion_upper(rate.failures, rate.n, targets.confidence)
        lower = proportion_lower(rate.failures, rate.n, targets.confidence)
        if upper <= targets.error_rate:
            verdict = Verdict.PASS
        elif lower > targets.error_rate:
            verdict = Verdict.FAIL
        detail = (
            f"at {targets.confidence:.0%} confidence between {lower:.2%} and {upper:.2%}; "
            f"{rate.failures} failures"
        )
    return Measurement(
        name="error_rate",
        value=percent(rate.share) if rate.n else None,
        limit=percent(targets.error_rate),
        n=rate.n,
        unit="%",
        verdict=verdict,
        detail=detail,
    )


def error_rate_sustained(
    found: Snapshot, targets: Targets, elapsed_us: int
) -> tuple[Measurement, ...]:
    """Failed calls of the last minutes: above the limit for so long is a breach."""
    rates = [window.sink(SINK).rate for window in found.error_windows]
    pooled = Rate(sum(rate.failures for rate in rates), sum(rate.n for rate in rates))
    if not pooled.n:
        return ()  # not required: the whole soak's rate is what promotes
    count, width_s = sub_windows(targets.error_for_s)
    broken = (
        elapsed_us >= targets.error_for_s * 1e6
        and sustained_above(rates, targets.error_rate)
        and sprt(pooled, healthy=targets.error_rate / 10, broken=targets.error_rate) is Verdict.FAIL
    )
    return (
        Measurement(
            name="error_rate_sustained",
            value=percent(min(rate.share for rate in rates)),
            limit=percent(targets.error_rate),
            n=pooled.n,
            unit="%",
            verdict=Verdict.FAIL if broken else Verdict.PASS,
            detail=f"lowest of the last {count} × {width_s:g} s",
        ),
    )


def breaker(found: Snapshot) -> Measurement:
    """Live publishers whose breaker to the sink is open, and whose probe failed as well.

    Three connection failures in a row open a breaker, which is cheap: what is owed waits.
    By chance that happens many times a year at a true error rate of 0.5 %, so it takes a
    probe that failed to call it an outage (docs/decisions.md). A breaker that was opened by
    hand needs no probe.
    """
    sinks = {
        one.report.instance: one.report.sinks[SINK]
        for one in found.live
        if one.received_us >= found.since_us and SINK in one.report.sinks
    }
    out = sorted(name for name, sink in sinks.items() if _confirmed(sink))
    unsure = sorted(name for name, sink in sinks.items() if sink.breaker == "open")
    verdict, detail = _if(bool(sinks), lambda: not out), ""
    if out:
        detail = f"open at {', '.join(out[:5])}"
    elif unsure:
        verdict = Verdict.INCONCLUSIVE
        detail = f"open at {', '.join(unsure[:5])}; its first probe decides"
    return Measurement(
        name="breaker",
        value=float(len(out)) if sinks else None,
        limit=0.0,
        n=len(sinks),
        unit="open",
        verdict=verdict,
        detail=detail,
    )


def _confirmed(sink: SinkWindow) -> bool:
    if sink.breaker == "forced_open":
        return True
    return sink.breaker in ("open", "half_open") and sink.probes_failed > 0


def lost(found: Snapshot) -> Measurement:
    """Events that readers gave up."""
    told = found.total.tells_lost
    lost = found.total.lost
    return Measurement(
        name="lost",
        value=float(lost) if told else None,
        limit=0.0,
        n=sum(one.delivered for one in found.total.transports.values()),
        unit="events",
        verdict=_if(told, lambda: lost == 0),
        detail="given up by subscribers" if told else "no subscriber or tap reports it",
    )


def latencies(
    found: Snapshot, targets: Targets, elapsed_us: int, serves: bool
) -> tuple[Measurement, ...]:
    """95th percentiles per transport, and Realtime against WebSocket on the same events."""
    measured = [_latency_ratio(found, targets), *_ratio_sustained(found, targets, elapsed_us)]
    for name, limit in (("realtime", targets.p95_ms), ("websocket", None)):
        histogram = found.total.deliveries(name).latency
        value = quantile(histogram, 0.95)
        if limit is None and value is None:
            continue  # for comparison only
        if name == "realtime" and not serves:
            continue
        verdict = Verdict.PASS
        if limit is not None:
            if value is None or histogram.n < MINIMUM_LATENCIES:
                verdict = Verdict.INCONCLUSIVE
            elif value > limit:
                verdict = Verdict.FAIL
        measured.append(
            Measurement(
                name=f"p95_{name}",
                value=_rounded(value),
                limit=limit,
                n=histogram.n,
                unit="ms",
                verdict=verdict,
                detail="commit to hand-over at subscribers" if limit else "for comparison",
            )
        )
    return tuple(measured)


def _p95s(window: Window) -> tuple[float | None, float | None, int]:
    """Realtime's and WebSocket's 95th percentile at the taps, and the smaller count."""
    pair: list[Histogram] = [
        window.transport(Role.TAP, name).latency for name in ("realtime", "websocket")
    ]
    n = min(one.n for one in pair)
    if n < MINIMUM_LATENCIES:
        return None, None, n
    return quantile(pair[0], 0.95), quantile(pair[1], 0.95), n


def _ratio(window: Window, targets: Targets) -> tuple[float | None, bool, str, int]:
    """The ratio, whether it is above the limit, both percentiles as text, and n."""
    realtime, websocket, n = _p95s(window)
    if realtime is None or websocket is None:
        return None, False, "needs the tap's figures of both transports", n
    ratio = realtime / websocket
    above = ratio > targets.latency_ratio and realtime > targets.latency_floor_ms
    return ratio, above, f"p95 {realtime:.1f} ms against {websocket:.1f} ms", n


def _latency_ratio(found: Snapshot, targets: Targets) -> Measurement:
    ratio, above, detail, n = _ratio(found.total, targets)
    if ratio is not None and ratio > targets.latency_ratio and not above:
        detail += f"; up to {targets.latency_floor_ms:g} ms is fine"
    return Measurement(
        name="latency_ratio",
        value=_rounded(ratio),
        limit=targets.latency_ratio,
        n=n,
        unit="×",
        verdict=_if(ratio is not None, lambda: not above),
        detail=detail,
    )


def _ratio_sustained(found: Snapshot, targets: Targets, elapsed_us: int) -> tuple[Measurement, ...]:
    parts = [_ratio(window, targets) for window in found.latency_windows]
    known = [ratio for ratio, _, _, _ in parts if ratio is not None]
    if not known:
        return ()  # not required, see above
    count, width_s = sub_windows(targets.latency_for_s)
    broken = elapsed_us >= targets.latency_for_s * 1e6 and all(above for _, above, _, _ in parts)
    return (
        Measurement(
            name="latency_ratio_sustained",
            value=_rounded(min(known)),
            limit=targets.latency_ratio,
            n=sum(n for _, _, _, n in parts),
            unit="×",
            verdict=Verdict.FAIL if broken else Verdict.PASS,
            detail=f"lowest of the last {count} × {width_s:g} s",
        ),
    )


def adoption(found: Snapshot, targets: Targets) -> Measurement:
    """Realtime's share of the cohort's events at subscribers."""
    realtime = found.total.deliveries("realtime").cohort
    n = realtime + found.total.deliveries("websocket").cohort
    share = realtime / n if n else 0.0
    return Measurement(
        name="adoption",
        value=percent(share) if n else None,
        limit=percent(targets.adoption),
        n=n,
        unit="%",
        relation=">=",
        verdict=_if(n > 0, lambda: share >= targets.adoption),
        detail="of the cohort's events came first by Realtime",
    )


def page_load(found: Snapshot) -> tuple[Measurement, ...]:
    """How long live pages took until their data was live, as their browsers measured it."""
    loads = sorted(
        one.report.resources["dashboard.load"]
        for one in found.live
        if one.report.role is Role.PAGE and "dashboard.load" in one.report.resources
    )
    if len(loads) < MINIMUM_PAGES:
        return ()  # not required: a slow tab or two hold nothing
    value = loads[max(0, math.ceil(PAGE_LOAD_SHARE * len(loads)) - 1)]
    return (
        Measurement(
            name="dashboard.load",
            value=_rounded(value),
            limit=PAGE_LOAD_MS,
            n=len(loads),
            unit="ms",
            verdict=Verdict.PASS if value <= PAGE_LOAD_MS else Verdict.FAIL,
            detail=f"{PAGE_LOAD_SHARE:.0%} of the live pages; the slowest took {loads[-1]:.0f} ms",
        ),
    )


def _if(known: bool, passed: Callable[[], bool]) -> Verdict:
    if not known:
        return Verdict.INCONCLUSIVE
    return Verdict.PASS if passed() else Verdict.FAIL


def percent(share: float) -> float:
    """A share from 0 to 1 as a percentage, rounded."""
    return round(share * 100, 6)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
