"""The demo while it runs: a live panel in a terminal, plain lines with times elsewhere."""

import time
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from crossfade.local.live_display import LiveDisplay

__all__ = ["DemoDisplay", "Figures"]

_LINE_EVERY_S = 5.0


@dataclass(slots=True)
class Figures:
    """What is shown at the moment; the driver changes it in place."""

    total: int = 0
    published: int = 0
    delivered: dict[str, int] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)


class DemoDisplay(LiveDisplay):
    """Shows ``figures``; ``say`` tells what happened, with the seconds since the start."""

    def __init__(self, console: Console, figures: Figures) -> None:
        super().__init__(console, refresh_per_second=5)
        self._figures = figures
        self._began = time.monotonic()
        self._line_due = 0.0

    def say(self, text: str, style: str = "") -> None:
        """Tell what happened: one line that stays."""
        line = Text.assemble((f"{self._elapsed():6.1f} s  ", "dim"), (text, style))
        self._console.print(line, soft_wrap=True)

    def tick(self) -> None:
        """Something changed; without a terminal a line is due every few seconds."""
        if self.is_live or time.monotonic() < self._line_due:
            return
        if self._figures.published:
            self._console.print(
                Text(f"{self._elapsed():6.1f} s  … {self._line()}", style="dim"), soft_wrap=True
            )
        self._line_due = time.monotonic() + _LINE_EVERY_S

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _line(self) -> str:
        figures = self._figures
        if not figures.status:
            return "the stack starts"
        rollout = figures.status.get("rollout") or {}
        where = ""
        if rollout:
            stage = rollout["stages"][min(rollout["stage"], len(rollout["stages"]) - 1)]
            where = f"{stage['name']} {rollout['phase']}, attempt {rollout['attempt']}; "
        owed = "; ".join(
            f"{name} owed {store.get('owed', 0)}, breaker {store.get('breaker', '?')}"
            for name, store in sorted((figures.status.get("stores") or {}).items())
        )
        handed = sum(figures.delivered.values())
        return f"{where}published {figures.published}, handed over {handed}; {owed}"

    def panel(self) -> RenderableType:
        """The bar and the line below it."""
        figures = self._figures
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            f"{self._elapsed():6.1f} s",
            ProgressBar(total=max(1, figures.total), completed=figures.published, width=40),
            f"{figures.published:,} of {figures.total:,} events",
        )
        return Group(bar, Text(f"          {self._line()}", overflow="ellipsis", no_wrap=True))
