"""How the figures of an attempt went over its time: as numbers, as a line of text, as a chart.

The evidence says what holds; a person who approves also wants to see whether it was getting
better or worse.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from crossfade.core.statistics import quantile
from crossfade.core.telemetry_totals import Window

__all__ = ["MAX_POINTS", "Trend", "chart", "spark", "trends"]

MAX_POINTS = 60
"""Most points of a trend: more windows than that are added up, neighbours together."""

_BARS = "▁▂▃▄▅▆▇█"
_GAP = "·"
_WIDTH, _HEIGHT, _LEFT, _TOP = 640, 150, 70, 34
_COLORS = ("#2563eb", "#9333ea", "#0d9488", "#b45309")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """One figure over time; a value is None where nothing was reported.

    ``points`` are (microseconds since 1970 at which the part ended, value in ``unit``);
    ``limit`` is what the value must not exceed, None when it is shown for comparison.
    """

    name: str
    unit: str
    points: tuple[tuple[int, float | None], ...]
    limit: float | None = None

    @property
    def values(self) -> tuple[float, ...]:
        """Those that are there."""
        return tuple(value for _, value in self.points if value is not None)


def trends(windows: Iterable[Window], targets: Mapping[str, Any]) -> tuple[Trend, ...]:
    """95th percentiles of both transports and the rate of failed calls to Supabase.

    Args:
        windows: oldest first, of one attempt; any number of them.
        targets: the stage's, as the rollout's document holds them (``p95_ms``, ``error_rate``).
    """
    parts = _parts(list(windows))
    p95 = float(targets["p95_ms"])
    return (
        Trend(name="p95 realtime", unit="ms", limit=p95, points=_p95(parts, "realtime")),
        Trend(name="p95 websocket", unit="ms", points=_p95(parts, "websocket")),
        Trend(
            name="errors",
            unit="%",
            limit=float(targets["error_rate"]) * 100.0,
            points=tuple(
                (part.to_us, rate.share * 100.0 if (rate := part.sink("supabase").rate).n else None)
                for part in parts
            ),
        ),
    )


def spark(trend: Trend, width: int = 24) -> str:
    """The trend as one line of bars; the highest bar is the highest value, a dot is no value.

    Args:
        width: most characters; of neighbours that share one the highest value is shown.
    """
    step = max(1, -(-len(trend.points) // width))
    groups = [trend.points[start : start + step] for start in range(0, len(trend.points), step)]
    top = max(trend.values, default=0.0)
    line = ""
    for group in groups:
        found = [value for _, value in group if value is not None]
        if not found:
            line += _GAP
        else:
            share = max(found) / top if top > 0 else 0.0
            line += _BARS[min(len(_BARS) - 1, int(share * len(_BARS)))]
    return line


def chart(shown: Sequence[Trend], title: str) -> str:
    """An SVG picture of the trends, one below the other, each with its limit as a dashed line."""
    height = _TOP + len(shown) * _HEIGHT
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="22" font-size="15" fill="#111827">{escape(title)}</text>',
    ]
    for number, trend in enumerate(shown):
        body += _panel(trend, _TOP + number * _HEIGHT, _COLORS[number % len(_COLORS)])
    return "\n".join([*body, "</svg>"])


def _parts(windows: list[Window]) -> list[Window]:
    step = max(1, -(-len(windows) // MAX_POINTS))
    parts = []
    for start in range(0, len(windows), step):
        some = windows[start : start + step]
        part = Window(from_us=some[0].from_us, to_us=some[-1].to_us)
        for window in some:
            part.merge(window)
        parts.append(part)
    return parts


def _p95(parts: Sequence[Window], transport: str) -> tuple[tuple[int, float | None], ...]:
    return tuple((part.to_us, quantile(part.deliveries(transport).latency, 0.95)) for part in parts)


def _panel(trend: Trend, top: int, color: str) -> list[str]:
    low_y, high_y = top + _HEIGHT - 24, top + 26
    right = _WIDTH - 16
    peak = max((*trend.values, trend.limit or 0.0), default=0.0) * 1.1 or 1.0
    first = trend.points[0][0] if trend.points else 0
    span = (trend.points[-1][0] - first if trend.points else 0) or 1

    def x(at_us: int) -> float:
        return _LEFT + (right - _LEFT) * (at_us - first) / span

    def y(value: float) -> float:
        return low_y - (low_y - high_y) * value / peak

    limit = "" if trend.limit is None else f", limit {trend.limit:g}"
    heading = f"{trend.name} ({trend.unit}{limit})"
    lines = [
        f'<text x="10" y="{top + 16}" fill="{color}">{escape(heading)}</text>',
        f'<line x1="{_LEFT}" y1="{low_y}" x2="{right}" y2="{low_y}" stroke="#9ca3af"/>',
        f'<text x="{_LEFT - 8}" y="{low_y}" text-anchor="end" fill="#6b7280">0</text>',
        f'<text x="{_LEFT - 8}" y="{high_y + 8}" text-anchor="end" fill="#6b7280">'
        f"{peak:.3g}</text>",
    ]
    if trend.limit is not None:
        at = f"{y(trend.limit):.1f}"
        lines.append(
            f'<line x1="{_LEFT}" y1="{at}" x2="{right}" y2="{at}" stroke="#dc2626" '
            'stroke-dasharray="6 4"/>'
        )
    for run in _unbroken(trend.points):
        path = " ".join(f"{x(at_us):.1f},{y(value):.1f}" for at_us, value in run)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        at_us, value = run[-1]
        lines.append(f'<circle cx="{x(at_us):.1f}" cy="{y(value):.1f}" r="2.5" fill="{color}"/>')
    if not trend.values:
        middle = (_LEFT + right) // 2
        lines.append(
            f'<text x="{middle}" y="{(low_y + high_y) // 2}" text-anchor="middle" '
            'fill="#6b7280">nothing was reported</text>'
        )
    return lines


def _unbroken(
    points: Sequence[tuple[int, float | None]],
) -> list[list[tuple[int, float]]]:
    runs: list[list[tuple[int, float]]] = [[]]
    for at_us, value in points:
        if value is None:
            runs.append([])
        else:
            runs[-1].append((at_us, value))
    return [run for run in runs if run]
