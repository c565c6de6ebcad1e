"""Row by row through a block that differs: what is wrong with which event in which store."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from crossfade.core.canonical import canonical_json, parse_json
from crossfade.core.event import Event, Position, Stream
from crossfade.core.intervals import contains, size_of
from crossfade.core.reconciliation import UNDECIDED, Discrepancy, Kind, severity_of
from crossfade.core.reconciliation_plan import Block, JournalStream
from crossfade.errors import InvalidEvent

__all__ = ["BlockFindings", "Hashes", "Row", "Sum", "classify", "differing_fields", "phantom"]


REFORMED = "data (reserialised)"
"""What ``differing_fields`` says of content that is the same JSON value in another form."""


class Row(NamedTuple):
    """One row (or delivery) of a store.

    ``hash`` is computed from the content held, never the checksum that travelled with it
    (that is ``event.hash``). ``stored`` is the hash that the store itself computed, None
    when it does not; ``disordered`` says that a later sequence was delivered before it.
    ``fault`` says why no event can be made of the row, whose fields are then only for display.
    """

    event: Event
    hash: int
    stored: int | None = None
    disordered: bool = False
    fault: str = ""

    @property
    def is_intact(self) -> bool:
        """Whether the content still has the checksum that travelled with it."""
        return not self.fault and self.event.hash == self.hash

    @property
    def is_stale(self) -> bool:
        """Whether a hash kept beside the content is not that of the content."""
        return not self.is_intact or (self.stored is not None and self.stored != self.hash)


class Hashes(NamedTuple):
    """Rows of one stream without their content: ascending sequences, and the hash of each.

    The hashes are of the content held. ``odd`` are the sequences of which something is to be said
    whatever other stores hold: a hash beside the content differs, delivered again (only the first
    delivery counts here) or after a later one.
    """

    stream: Stream
    sequences: Sequence[int]
    hashes: Sequence[int]
    odd: Collection[int] = ()


@dataclass(slots=True)
class Sum:
    """A number of events and the sum of their content hashes."""

    count: int = 0
    total: int = 0

    def add(self, content_hash: int) -> None:
        """One more event."""
        self.count += 1
        self.total += content_hash


@dataclass(slots=True)
class BlockFindings:
    """What ``classify`` found: discrepancies, and per store the sums expected and held."""

    discrepancies: list[Discrepancy] = field(default_factory=list)
    expected: dict[str, Sum] = field(default_factory=dict)
    held: dict[str, Sum] = field(default_factory=dict)

    @property
    def last(self) -> bool:
        """Whether they stay true while the rows stay: not of what may arrive or be refused."""
        return all(
            one.kind not in UNDECIDED and (one.kind is not Kind.MISSING or one.store == "websocket")
            for one in self.discrepancies
        )


def classify(
    block: Block,
    facts: JournalStream,
    rows: Mapping[str, Iterable[Row]],
    *,
    covered: Callable[[int], bool],
    exact: Iterable[str],
    alike: Mapping[int, int] | None = None,
) -> BlockFindings:
    """Compare the rows of one block in the stores that ``rows`` names (journal among them).

    Rows of a store come in any order, deliveries of the same sequence in order of arrival.
    ``alike`` are the hashes of sequences already known to be the same in all of these stores, with
    nothing to say of them: their rows need not be there.
    ``covered`` says of a commit time whether the tap was connected then; ``exact`` are the
    categories whose discrepancies are critical.
    """
    held = {store: _by_sequence(found) for store, found in rows.items()}
    stores = [store for store in held if store == "journal" or store in facts.owed]
    findings = BlockFindings(
        expected={store: Sum() for store in stores}, held={store: Sum() for store in stores}
    )
    whole = {
        store
        for store in stores
        if store == "journal" or size_of(facts.owed[store], block.first, block.last)
        == block.last - block.first + 1
    }  # fmt: skip
    known = alike or {}
    for store in stores if known else ():
        mine = known.values() if store in whole else [
            value for at, value in known.items() if contains(facts.owed[store], at)
        ]  # fmt: skip
        for sums in (findings.expected[store], findings.held[store]):
            sums.count += len(mine)
            sums.total += sum(mine)
    for sequence in range(block.first, block.last + 1):
        if sequence in known:
            continue
        found = {store: held[store][sequence] for store in stores if sequence in held[store]}
        if len(found) == len(stores) and _all_alike(found.values()):
            for store, (row,) in found.items():
                if store in whole or contains(facts.owed[store], sequence):
                    findings.expected[store].add(row.hash)
                    findings.held[store].add(row.hash)
            continue
        truth_store, truth = _truth({store: copies[0] for store, copies in found.items()})
        name = _Namer(block, sequence, facts, truth, exact)
        for store in stores:
            owed = store == "journal" or contains(facts.owed[store], sequence)
            copies = found.get(store)
            if copies is None:
                if owed:
                    journalled = found.get("journal")
                    seen = journalled is None or covered(journalled[0].event.committed_us)
                    _absent(findings, name, store, truth, seen)
                continue
            if owed and truth is not None:
                findings.expected[store].add(truth.hash)
                findings.held[store].add(copies[0].hash)
            findings.discrepancies.extend(_present(name, store, copies, truth_store, truth))
    return findings


def phantom(row: Row, store: str, journal_head: int | None, exact: Iterable[str]) -> Discrepancy:
    """The discrepancy of a row that was never journalled.

    ``journal_head`` is where the journal's stream ends, None when it has no such stream.
    """
    if journal_head is None:
        detail = "the journal knows no such stream"
    else:
        detail = f"the journal's stream ends at {journal_head}"
    event = row.event
    return Discrepancy(
        Kind.PHANTOM,
        store,
        str(event.position),
        event.id,
        event.type,
        event.category,
        severity_of(event.category, exact),
        detail,
    )


def differing_fields(one: Event, other: Event) -> list[str]:
    """The names of the fields in which two events at the same position differ."""
    names = [
        name.removesuffix("_us")
        for name in ("id", "type", "time_us", "subject", "category")
        if getattr(one, name) != getattr(other, name)
    ]
    if one.data != other.data:
        names.append(REFORMED if _same_value(one.data, other.data) else "data")
    return names


def _same_value(one: str, other: str) -> bool:
    try:
        return canonical_json(parse_json(one)) == canonical_json(parse_json(other))
    except (InvalidEvent, TypeError):
        return False


def _by_sequence(rows: Iterable[Row]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row.event.sequence, []).append(row)
    return found


def _all_alike(found: Iterable[list[Row]]) -> bool:
    """Whether there is one row each, all of the same content, with nothing to say of any."""
    first: int | None = None
    for copies in found:
        row = copies[0]
        value = row.hash
        first = value if first is None else first
        # Written out, not by the row's properties: it runs for every row of a differing block.
        if (
            value != first
            or row.event.hash != value
            or len(copies) > 1
            or row.disordered
            or (row.stored is not None and row.stored != value)
            or row.fault
        ):
            return False
    return True


def _truth(found: Mapping[str, Row]) -> tuple[str, Row | None]:
    """Which store's content to believe.

    Two stores that agree outvote the third, unless that one is the journal, has the
    checksum of its content, and neither of the two has. Without agreement the journal is
    believed if its checksum holds; else the content that has the journal's checksum, else
    any content that has its own.
    """
    if not found:
        return "", None
    holders: dict[int, list[str]] = {}
    for store, row in found.items():
        holders.setdefault(row.hash, []).append(store)
    journal = found.get("journal")
    agreed = max(holders.values(), key=len)
    if len(agreed) > 1:
        credible = any(found[store].is_intact for store in agreed)
        if "journal" in agreed or journal is None or not journal.is_intact or credible:
            return agreed[0], found[agreed[0]]
    if journal is not None and journal.is_intact:
        return "journal", journal
    others = {store: row for store, row in found.items() if store != "journal"}
    if journal is not None:
        for store, row in others.items():
            if row.hash == journal.event.hash:
                return store, row
    for store, row in others.items():
        if row.is_intact:
            return store, row
    store = next(iter(found))
    return store, found[store]


class _Namer:
    """Makes the discrepancies of one position."""

    def __init__(
        self,
        block: Block,
        sequence: int,
        facts: JournalStream,
        truth: Row | None,
        exact: Iterable[str],
    ) -> None:
        self.sequence = sequence
        self.facts = facts
        self._position = str(Position(*block.stream, sequence))
        self._event = truth.event if truth else None
        self._category = truth.event.category if truth else facts.category
        self._severity = severity_of(self._category, exact)

    def __call__(self, kind: Kind, store: str, detail: str) -> Discrepancy:
        event = self._event
        return Discrepancy(
            kind,
            store,
            self._position,
            event.id if event else "",
            event.type if event else "",
            self._category,
            self._severity,
            detail,
        )


def _absent(
    findings: BlockFindings,
    name: _Namer,
    store: str,
    truth: Row | None,
    seen: bool,
) -> None:
    facts, sequence = name.facts, name.sequence
    refused = facts.parked.get(sequence) if store == "supabase" else None
    if store != "journal" and truth and refused is None and sequence >= facts.next.get(store, 1):
        late = name(Kind.LATE, store, "the publisher still owes it")
        findings.discrepancies.append(late)
        return
    if store == "websocket" and not seen and contains(facts.accepted, sequence):
        return
    if store == "websocket" and not seen:
        findings.discrepancies.append(
            name(Kind.UNCOVERED, store, "the tap was not connected when it was published")
        )
        return
    findings.expected[store].add(truth.hash if truth else 0)
    if store == "journal":
        detail = f"within the journal's {facts.floor} to {facts.head}, yet not in it"
    elif refused is not None:
        detail = f"refused: {refused}"
    else:
        detail = "the publisher counts it as delivered" if truth else "no store holds it"
    findings.discrepancies.append(name(Kind.MISSING, store, detail))


def _present(
    name: _Namer, store: str, copies: list[Row], truth_store: str, truth: Row | None
) -> Iterator[Discrepancy]:
    if len(copies) > 1:
        yield name(Kind.DUPLICATED, store, f"delivered {len(copies)} times")
    if copies[0].disordered:
        yield name(Kind.OUT_OF_ORDER, store, "first delivered after a later sequence")
    if truth is None:
        return
    altered = next((row for row in copies if row.hash != truth.hash), None)
    if altered is not None:
        fields = altered.fault or ", ".join(differing_fields(altered.event, truth.event))
        carried = "was changed with it" if altered.is_intact else "is not that of its content"
        kind = Kind.RESERIALISED if fields == REFORMED else Kind.ALTERED
        yield name(kind, store, f"{fields}: not as in {truth_store}; the checksum {carried}")
    elif any(row.is_stale for row in copies):
        yield name(Kind.STALE_HASH, store, "the content is right, a hash kept beside it is not")
