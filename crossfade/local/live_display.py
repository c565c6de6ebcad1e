"""A panel that changes in place in a terminal, and nothing of it elsewhere."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live

__all__ = ["LiveDisplay"]


class LiveDisplay(ABC):
    """A context manager around the time in which ``panel()`` is shown.

    Args:
        console: where to write; without a terminal ``is_live`` stays False, and what happens
            is for the caller to tell in lines.
        refresh_per_second: how often ``panel()`` is asked.
    """

    def __init__(self, console: Console, *, refresh_per_second: float) -> None:
        self._console = console
        self._refresh_per_second = refresh_per_second
        self._live: Live | None = None

    @property
    def is_live(self) -> bool:
        """Whether the panel is being shown."""
        return self._live is not None

    @abstractmethod
    def panel(self) -> RenderableType:
        """What is shown now."""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self.panel,
                console=self._console,
                refresh_per_second=self._refresh_per_second,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
