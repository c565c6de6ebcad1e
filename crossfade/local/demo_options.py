"""What a demo can be told."""

from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path

from crossfade.errors import StackError, UsageError

__all__ = ["FEWEST_EVENTS", "Approve", "DemoOptions", "Sabotage", "flights_file"]

FEWEST_EVENTS = 3_000
"""With fewer the first week's tenth is too small a sample to promote it."""

_NAME = "flights-2013-01.jsonl.gz"


class Approve(StrEnum):
    """Who answers the form that asks to promote a stage."""

    AUTO = "auto"
    UI = "ui"


class Sabotage(StrEnum):
    """What is broken on purpose; each must make the demo fail and name the event."""

    DROP_IN_RELAY = "drop-in-relay"
    ALTER_ROW = "alter-row"
    DOUBLE_IN_SUBSCRIBER = "double-in-subscriber"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """One run of the demo.

    Attributes:
        events: the input file.
        limit: only so many of its events; None for all.
        rate: events a second while the weeks run; afterwards as fast as it goes.
        soak_s: how long each week soaks.
        outage_s: how long Supabase is gone in week 2; 0 for no outage.
        seed: chooses the cohort's salt, the single keys and the sabotaged events.
        report: where to write the JSON report; None for nowhere.
        sabotage: what is broken on purpose.
        keep: leave the state folder in place.
        weeks: only the last so many of the three weeks (for tests).
    """

    events: Path
    limit: int | None = None
    rate: float = 120.0
    soak_s: float = 6.0
    outage_s: float = 8.0
    seed: int = 1
    approve: Approve = Approve.AUTO
    sabotage: tuple[Sabotage, ...] = ()
    report: Path | None = None
    keep: bool = False
    weeks: int = 3

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < FEWEST_EVENTS:
            raise UsageError(
                f"--limit: a demo needs at least {FEWEST_EVENTS:,} events, "
                "or its weeks have too few to show anything"
            )
        if not 1 <= self.weeks <= 3:
            raise UsageError("--weeks: must be 1 to 3")


def flights_file() -> Path:
    """The week of flights: of the checkout, or of the wheel's bundle.

    Raises:
        StackError: neither is there: the installation is incomplete.
    """
    package = Path(str(resources.files("crossfade")))
    for folder in (package.parent / "data", package / "_bundle" / "data"):
        if (folder / _NAME).is_file():
            return folder / _NAME
    raise StackError(f"{_NAME} is missing from this installation; install it anew")
