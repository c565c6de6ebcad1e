"""One event side by side in all stores."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from crossfade.adapters.clock import SystemClock
from crossfade.comparison import Comparison, covered_by, open_readers
from crossfade.core.event import Position, format_time, hash_to_hex
from crossfade.core.intervals import contains
from crossfade.core.reconciliation import STORES, Discrepancy
from crossfade.core.reconciliation_plan import Block, JournalStream
from crossfade.core.reconciliation_rows import Row, classify, phantom
from crossfade.errors import JournalError, StoreError
from crossfade.ports import Clock, StoreReader
from crossfade.settings import Settings

__all__ = ["Explanation", "explain", "row_to_json"]

READERS = ("journal", "websocket", "realtime", "supabase")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What every store holds at one position, and what is wrong with it.

    ``rows`` has a list per store that could be read (several deliveries are several rows);
    ``notes`` say what is no discrepancy but explains an absence. ``is_judged`` is False when
    the stores could not be held against each other here.
    """

    position: Position
    rows: Mapping[str, tuple[Row, ...]]
    discrepancies: tuple[Discrepancy, ...]
    notes: tuple[str, ...]
    errors: Mapping[str, str]
    is_judged: bool

    def to_json(self) -> dict[str, Any]:
        """The explanation as JSON values."""
        return {
            "position": str(self.position),
            "stores": {
                store: [row_to_json(row) for row in rows] for store, rows in self.rows.items()
            },
            "discrepancies": [one.to_json() for one in self.discrepancies],
            "notes": list(self.notes),
            "errors": dict(self.errors),
            "judged": self.is_judged,
        }


def row_to_json(row: Row) -> dict[str, Any]:
    """A row's content and hashes, as people and machines read them."""
    event = row.event
    return {
        "id": str(event.id),
        "type": str(event.type),
        "time": _shown(event.time_us, format_time),
        "subject": str(event.subject),
        "category": str(event.category),
        "data": str(event.data),
        "hash": hash_to_hex(row.hash),
        "checksum": _shown(event.hash, hash_to_hex),
        "stored_hash": None if row.stored is None else hash_to_hex(row.stored),
        "out_of_order": row.disordered,
    }


def _shown(value: object, form: Callable[[int], str]) -> str:
    """A number in its form; what a damaged row has in its place as it is."""
    try:
        return form(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return str(value)


def explain(
    settings: Settings,
    position: Position,
    *,
    clock: Clock | None = None,
    readers: Mapping[str, StoreReader] | None = None,
) -> Explanation:
    """Read one position from every store and judge it as a reconciliation would, without rechecks.

    Stores that can not be read are named in ``errors``.
    """
    errors: dict[str, str] = {}
    if readers is None:
        readers, errors = open_readers(settings, READERS)
    options = settings.reconcile
    now_us = (clock or SystemClock()).now_us()
    with Comparison(readers, size=options.block, exact=options.exact) as comparison:
        rows: dict[str, tuple[Row, ...]] = {}
        facts: JournalStream | None = None
        # The journal last, as ever: what others hold must then be in it.
        for name in reversed([name for name in READERS if name in readers]):
            reader = comparison.reader(name)
            try:
                rows[name] = tuple(
                    reader.rows(position.stream, position.sequence, position.sequence)
                )
                if name == "journal":
                    outline = comparison.read_outline(now_us - round(options.grace_s * 1e6), 0)
                    facts = next(
                        (one for one in outline.streams if one.stream == position.stream), None
                    )
            except (StoreError, JournalError) as error:
                errors[name] = str(error)
        errors = {**comparison.errors, **errors}
        why = _not_judged(position, facts, errors)
        notes = [why] if why else []
        found: list[Discrepancy] = []
        if facts is None or position.sequence > facts.head:
            head = facts.head if facts else None
            found = [
                phantom(rows[name][0], name, head, options.exact)
                for name in STORES
                if rows.get(name) and "journal" not in errors
            ]
        elif not why:
            block = Block(position.stream, 0, position.sequence, position.sequence)
            compared = {name: rows[name] for name in STORES if name in rows}
            covered = covered_by(comparison.coverage, 0)
            found = classify(
                block, facts, compared, covered=covered, exact=options.exact
            ).discrepancies
            if not contains(facts.owed["supabase"], position.sequence):
                notes.append("Supabase is not owed it: the partition was outside the cohort")
    return Explanation(
        position=position,
        rows={name: rows[name] for name in READERS if name in rows},
        discrepancies=tuple(found),
        notes=tuple(notes),
        errors=errors,
        is_judged=not why and not errors,
    )


def _not_judged(position: Position, facts: JournalStream | None, errors: Mapping[str, str]) -> str:
    """Why the stores can not be held against each other at this position; "" when they can."""
    if "journal" in errors:
        return "the journal could not be read: there is nothing to compare with"
    if facts is None:
        return "the journal has no such stream"
    if position.sequence > facts.head:
        return f"the journal's stream ends at {facts.head}"
    if position.sequence < facts.floor:
        return f"the journal's stream begins at {facts.floor}: not compared"
    if position.sequence > facts.watermark:
        return "in flight: committed within the grace, not judged yet"
    return ""
