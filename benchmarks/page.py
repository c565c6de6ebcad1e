"""docs/benchmarks.md, written from a run: nobody copies a figure by hand."""

from typing import Any

from benchmarks.figures import Figure

__all__ = ["goal", "number", "page", "word"]

_ABOUT = """# Benchmarks

Written by `make bench ARGS="--write"`; not by hand. Every figure is a median of rounds that
alternate with what it is compared with, in one run, publisher, hub and subscribers in processes
of their own:

- **floor**: the same work without Crossfade, as fast as this machine does it;
- **naive**: a naive dual write: await the WebSocket broadcast, await one insert, for each event; or
  a naive switch: close one socket, open the other;
- **ratio**: how many times better than naive; **goal**: what the figure is meant to reach.

Speed is told and never demanded; a bench fails only when an event is lost, doubled or out of
order. `make bench ARGS="publish latency --scale 0.1"` runs some of them in small;
`make bench ARGS=--json` prints everything by program. The page in a browser is measured by
`make bench-browser`. Rows with a dot are parts of the row above them;
[where the microseconds go](adr/0024-what-an-event-costs.md) says what can be had for less and what
can not.
"""


def page(figures: dict[str, list[Figure]], environment: dict[str, Any]) -> str:
    """The whole page."""
    facts = ", ".join(f"{name} {value}" for name, value in environment.items())
    lines = [_ABOUT, f"This run: {facts}.", ""]
    lines += ["| figure | value | floor | naive | ratio | goal | | note |"]
    lines += ["|---|---:|---:|---:|---:|---:|---|---|"]
    for one in (one for some in figures.values() for one in some):
        ratio = "" if one.ratio is None else f"{one.ratio:,.0f} ×"
        cells = (
            one.name,
            f"**{number(one.value)}** {one.unit}",
            number(one.floor),
            number(one.naive),
            ratio,
            goal(one),
            word(one),
            one.note,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def goal(figure: Figure) -> str:
    """What it is meant to reach."""
    sign = "≥" if figure.better == "more" else "≤"
    goals = [] if figure.goal is None else [f"{sign} {number(figure.goal)}"]
    goals += [] if figure.goal_ratio is None else [f"≥ {figure.goal_ratio:g} ×"]
    return ", ".join(goals)


def word(figure: Figure) -> str:
    """Whether it does."""
    return {None: "", True: "met", False: "missed"}[figure.met]


def number(value: float | None) -> str:
    """A figure for people; "" when there is none."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"
