"""Publishers for tests, with everything injected that is not on trial."""

from pathlib import Path
from typing import Any

from crossfade.core.event import Event
from crossfade.core.flags import EVERYTHING, Flags
from crossfade.settings import Settings

TOKEN = "t"


def make_settings(folder: Path, **sections: dict[str, Any]) -> Settings:
    values: dict[str, dict[str, Any]] = {
        "journal": {"path": folder / "journal.db", "epoch": 1, "durability": "os"},
        "publisher": {"source": "app", "drain_s": 10},
        "relay": {
            "heads_s": 0.1,
            "poll_s": 0.01,
            "retry_initial_s": 0.01,
            "retry_max_s": 0.05,
            "timeout_s": 2,
        },
        "breaker": {"open_s": 0.05, "open_max_s": 0.2, "slow_call_ms": 60_000},
        "websocket": {"url": "", "token": TOKEN, "heads_s": 0.1},
        "rollout": {"partitions": 4},
        "classification": {"heuristics": False, "default": "critical"},
    }
    for name, fields in sections.items():
        values[name] = {**values.get(name, {}), **fields}
    return Settings.model_validate(values)


def cohort(percent: float, version: int = 1) -> Flags:
    return Flags(version=version, partitions=4, written={EVERYTHING: percent})


class Legacy:
    """An application's own legacy side: keeps what it was given; can be down."""

    def __init__(self) -> None:
        self.sent: list[Event] = []
        self.down = False
        self.calls = 0

    async def send(self, events: Any) -> None:
        self.calls += 1
        if self.down:
            raise ConnectionRefusedError("legacy is down")
        self.sent.extend(events)
