"""How a stack's services are shown: a table that lives in a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from crossfade.local.live_display import LiveDisplay
from crossfade.local.supervisor import ServiceState, ServiceStatus

__all__ = ["StatusDisplay", "status_table"]

_STYLES = {
    ServiceState.WAITING: "dim",
    ServiceState.STARTING: "yellow",
    ServiceState.READY: "green",
    ServiceState.STOPPING: "yellow",
    ServiceState.STOPPED: "dim",
    ServiceState.KILLED: "red",
    ServiceState.DIED: "bold red",
}


def status_table(statuses: Iterable[ServiceStatus], now: float) -> Table:
    """Service, address, process, state, since when, log; ``now`` is monotonic seconds.

    Logs are shown from the state folder on, which whoever shows the table names.
    """
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("service", "address", "pid", "state", "since", "log"):
        number = title in ("pid", "since")
        table.add_column(title, justify="right" if number else "left", overflow="fold")
    for status in statuses:
        table.add_row(
            status.name,
            status.address or "–",
            "–" if status.pid is None else str(status.pid),
            Text(status.state.value, style=_STYLES[status.state]),
            f"{max(0.0, now - status.since):.1f} s",
            f"{status.log.parent.name}/{status.log.name}",
        )
    return table


class StatusDisplay(LiveDisplay):
    """Shows services while they start or end; a context manager around that time.

    In a terminal one table that changes in place; elsewhere one line for every change.

    Args:
        console: where to write.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console, refresh_per_second=8)
        self._statuses: dict[str, ServiceStatus] = {}

    def change(self, status: ServiceStatus) -> None:
        """A service changed."""
        self._statuses[status.name] = status
        if not self.is_live:
            parts = [
                time.strftime("%H:%M:%S"),
                status.name,
                status.state.value,
                status.address,
                status.note,
            ]
            self._console.print(" ".join(filter(None, parts)), highlight=False, soft_wrap=True)

    def panel(self) -> Table:
        """The table of the services' last changes."""
        return status_table(self._statuses.values(), time.monotonic())
