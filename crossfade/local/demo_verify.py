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
from crossfade.local.demo_options import Sabotage
from crossfade.local.demo_readers import (
    read_journal,
    read_recording,
    read_supabase,
    read_tap,
    routed_ids,
)
from crossfade.settings import Settings

__all__ = ["RELAYED", "Choice", "Reading", "alter_row", "choose", "verify", "verify_completed"]

RELAYED = "relayed"
"""The table before the backfill, as a holder."""

SINK = "supabase"
_AIRPORT_LETTERS = 3
_ENOUGH = 15


class Choice(NamedTuple):
    """The keys that are followed singly, and an event for each kind of sabotage to hit."""

    keys: tuple[str, ...]
    victims: Mapping[Sabotage, Expected]


class Reading(NamedTuple):
    """What one check found: stores, subscribers, and how many rows were read where."""

    stores: list[HolderResult]
    subscribers: list[HolderResult]
    rows: dict[str, int]


def choose(expected: Sequence[Expected], seed: int) -> Choice:
    """Two tail numbers and one airport with enough events, and events of the last tenth.

    The victims are published when the weeks are over, so that nothing but the final check
    stands between them and a proof.
    """
    chance = random.Random(f"crossfade demo {seed}")  # noqa: S311 - a reproducible choice
    counts = Counter(one.key for one in expected if one.key)
    airports = sorted(key for key in counts if len(key) == _AIRPORT_LETTERS)
    aircraft = sorted(key for key in counts if len(key) != _AIRPORT_LETTERS)
    busy = [key for key in aircraft if counts[key] >= _ENOUGH]
    pool = busy if len(busy) >= 2 else sorted(aircraft, key=lambda key: (-counts[key], key))[:2]
    if len(pool) < 2 or not airports:
        raise DemoFailed("the input has too few keys: two aircraft and an airport are needed")
    keys = (*chance.sample(pool, 2), chance.choice(airports))
    late = expected[-max(len(Sabotage), len(expected) // 10) :]
    victims = dict(zip(Sabotage, chance.sample(late, len(Sabotage)), strict=True))
    return Choice(keys, victims)


def verify(
    expected: Sequence[Expected],
    settings: Settings,
    recordings: Mapping[str, tuple[Path, str | None]],
    routed_from_us: int | None,
) -> Reading:
    """Check everything that is held before anything is mended.

    The table must hold then what the journal's routes say and, whatever they say, all that
    was committed from ``routed_from_us`` on (every instance had the flags of 100 % by then;
    None: that was never so). It is called ``relayed``.

    Args:
        recordings: per subscriber its file and the key that it follows (None: everything).

    Raises:
        JournalUnavailable, StoreUnavailable, InvalidEvent: something could not be read.
    """
    known = {one.id for one in expected}
    stores = [
        Holder("journal", read_journal(settings.journal.path)),
        Holder("websocket", read_tap(settings.tap.path, "websocket")),
        Holder(
            RELAYED,
            read_supabase(settings.supabase.database_url.get_secret_value()),
            known & routed_ids(settings.journal.path, SINK, routed_from_us),
        ),
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
    return Reading(results[: len(stores)], results[len(stores) :], rows)


def verify_completed(expected: Sequence[Expected], settings: Settings) -> HolderResult:
    """Check the table after the backfill of everything: it must hold the whole input.

    Raises:
        JournalUnavailable, StoreUnavailable: something could not be read.
    """
    journal = Holder("journal", read_journal(settings.journal.path))
    table = Holder(SINK, read_supabase(settings.supabase.database_url.get_secret_value()))
    return check(expected, [journal, table])[1]


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
