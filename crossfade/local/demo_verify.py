"""Whom the demo follows and breaks, chosen by its seed; and the final check of all holders."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psycopg

from crossfade.errors import StoreUnavailable
from crossfade.local.demo_checker import Expected, Holder, HolderResult, check
from crossfade.local.demo_observer import DemoFailed
from crossfade.local.demo_readers import (
    read_journal,
    read_recording,
    read_supabase,
    read_tap,
)
from crossfade.settings import Settings

__all__ = ["Choice", "alter_row", "choose", "verify"]

_AIRPORTS = 3
_ENOUGH = 15


class Choice(NamedTuple):
    """The keys that are followed singly, and the event that a sabotage is to hit."""

    keys: tuple[str, ...]
    victim: Expected


def choose(expected: Sequence[Expected], seed: int) -> Choice:
    """Two tail numbers and one airport with enough events, and an event of the last tenth.

    The victim is published when the weeks are over, so that nothing but the final check
    stands between it and a proof. Subscribers of every kind could see it: it is one of the
    followed airport's where that has any.
    """
    chance = random.Random(f"crossfade demo {seed}")  # noqa: S311 - a reproducible choice
    counts = Counter(one.key for one in expected if one.key)
    airports = sorted(key for key in counts if len(key) == _AIRPORTS)
    aircraft = sorted(key for key in counts if len(key) != _AIRPORTS)
    busy = [key for key in aircraft if counts[key] >= _ENOUGH]
    pool = busy if len(busy) >= 2 else sorted(aircraft, key=lambda key: (-counts[key], key))[:2]
    if len(pool) < 2 or not airports:
        raise DemoFailed("the input has too few keys: two aircraft and an airport are needed")
    keys = (*chance.sample(pool, 2), chance.choice(airports))
    late = expected[-max(1, len(expected) // 10) :]
    return Choice(keys, chance.choice(late))


def verify(
    expected: Sequence[Expected],
    settings: Settings,
    recordings: Mapping[str, tuple[Path, str | None]],
) -> tuple[list[HolderResult], list[HolderResult], dict[str, int]]:
    """Read everything that is held and check it.

    Args:
        recordings: per subscriber its file and the key that it follows (None: everything).

    Returns:
        The stores' results, the subscribers' results, and the rows read per holder.

    Raises:
        JournalUnavailable, StoreUnavailable, InvalidEvent: something could not be read.
    """
    stores = [
        Holder("journal", read_journal(settings.journal.path)),
        Holder("websocket", read_tap(settings.tap.path, "websocket")),
        Holder("supabase", read_supabase(settings.supabase.database_url.get_secret_value())),
    ]
    subscribers = [
        Holder(
            name,
            read_recording(path) if path.is_file() else [],
            None if key is None else {one.id for one in expected if one.key == key},
        )
        for name, (path, key) in recordings.items()
    ]
    results = check(expected, [*stores, *subscribers])
    rows = {holder.name: len(holder.events) for holder in stores}
    rows["realtime"] = len(read_tap(settings.tap.path, "realtime"))
    return results[: len(stores)], results[len(stores) :], rows


def alter_row(database_url: str, event_id: str) -> None:
    """Change one event's content in the table, as a careless UPDATE would.

    Raises:
        StoreUnavailable: no answer, or no such event.
    """
    statement = (
        "update crossfade.events set data = regexp_replace(data, '\\}$', ',\"tampered\":true}') "
        "where id = %s"
    )
    try:
        with psycopg.connect(database_url, connect_timeout=10) as connection:
            changed = connection.execute(statement, (event_id,)).rowcount
    except psycopg.Error as error:
        raise StoreUnavailable(f"supabase: the row can not be altered: {error}") from error
    if changed != 1:
        raise StoreUnavailable(f"supabase: {changed} rows have the id {event_id}, not one")
