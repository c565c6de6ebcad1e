"""Journals for tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from crossfade.adapters.journal_sqlite import Journal
from crossfade.core.event import Draft
from crossfade.settings import JournalSettings


def everything(topic: str, partition: int) -> bool:
    return True


def nothing(topic: str, partition: int) -> bool:
    return False


def journal(
    folder: Path,
    *,
    source: str = "app",
    supabase: Callable[[str, int], bool] = everything,
    **settings: Any,
) -> Journal:
    values = {"path": folder / "journal.db", "epoch": 1, "linger_ms": 0, **settings}
    return Journal(
        JournalSettings(**values),
        source=source,
        routing={"websocket": everything, "supabase": supabase},
    )


def draft(number: int, *, partition: int = 0, topic: str = "critical", **more: Any) -> Draft:
    values: dict[str, Any] = {
        "id": f"id-{topic}-{partition}-{number}",
        "type": "flight.departed",
        "time_us": 1_700_000_000_000_000 + number,
        "subject": "N711MQ",
        "category": "critical",
        "topic": topic,
        "partition": partition,
        "data": f'{{"n":{number}}}',
    }
    return Draft(**{**values, **more})
