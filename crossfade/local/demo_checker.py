"""The demo's judge: what the input file says, against what every store and subscriber holds.

Pure functions over events that somebody else has read. Nothing here knows the publisher: the
truth is the input file, an event is recognised by its id, and its place by what the holders
agree on.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from crossfade.core.canonical import canonical_json
from crossfade.core.event import Event, Position, Stream, parse_time

__all__ = [
    "KINDS",
    "Expected",
    "Finding",
    "Holder",
    "HolderResult",
    "check",
    "expected_event",
]

KINDS = ("missing", "duplicated", "altered", "out_of_order", "unexpected")
"""What can be wrong with an event at a holder."""

_SHOWN = 40
"""How much of a content that differs is shown from the first difference on."""


class Expected(NamedTuple):
    """One event of the input file, at its place in it (from 1)."""

    line: int
    id: str
    type: str
    time_us: int
    key: str
    data: str


class Holder(NamedTuple):
    """A store or a subscriber: the events as it keeps or was handed them, in its order.

    ``required`` are the ids that it must hold; None for every one of the input.
    """

    name: str
    events: Sequence[Event]
    required: Collection[str] | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One event that is wrong at one holder; ``position`` is "" where nobody knows it."""

    kind: str
    holder: str
    id: str
    position: str
    type: str
    detail: str

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON values."""
        return {
            "kind": self.kind,
            "holder": self.holder,
            "id": self.id,
            "position": self.position,
            "type": self.type,
            "detail": self.detail,
        }

    def __str__(self) -> str:
        place = f" at {self.position}" if self.position else ""
        return f"{self.holder}: {self.id} ({self.type}){place} is {self.kind}: {self.detail}"


@dataclass(frozen=True, slots=True)
class HolderResult:
    """The count of every kind at one holder, and each bad event by name."""

    name: str
    expected: int
    delivered: int
    findings: tuple[Finding, ...]

    def count(self, kind: str) -> int:
        """How many findings are of this kind."""
        return sum(finding.kind == kind for finding in self.findings)

    @property
    def clean(self) -> bool:
        """Everything expected is there, once, unaltered, in order, and nothing else."""
        return not self.findings and self.delivered == self.expected

    def to_json(self) -> dict[str, Any]:
        """The counts as JSON values (the findings are listed by the report)."""
        return {
            "expected": self.expected,
            "delivered": self.delivered,
            **{kind: self.count(kind) for kind in KINDS},
        }


def expected_event(line: int, value: Mapping[str, Any]) -> Expected:
    """Read a line of the input file (already parsed; checked by ``crossfade publish``)."""
    return Expected(
        line=line,
        id=value["id"],
        type=value["type"],
        time_us=parse_time(value["time"]),
        key=value.get("key") or "",
        data=canonical_json(value["data"]),
    )


def check(expected: Sequence[Expected], holders: Sequence[Holder]) -> list[HolderResult]:
    """Compare every holder with the input and with the others.

    Out of order is an event that comes after a later one of its stream: by sequence as the
    holder keeps it, or by the input, whose order per stream the sequences must follow. An
    event is altered when its type, time, key or content is not the input's, when its content
    no longer has the hash that travelled with it, or when it stands at another position than
    at most of the holders.
    """
    truth = {one.id: one for one in expected}
    places = _agreed_positions(holders)
    return [_check_holder(truth, places, holder) for holder in holders]


def _check_holder(
    truth: Mapping[str, Expected], places: Mapping[str, Position], holder: Holder
) -> HolderResult:
    findings: list[Finding] = []
    seen: Counter[str] = Counter()
    highest: dict[Stream, tuple[int, int]] = {}

    def find(kind: str, event_id: str, event_type: str, place: object, detail: str) -> None:
        position = "" if place is None else str(place)
        findings.append(Finding(kind, holder.name, event_id, position, event_type, detail))

    for event in holder.events:
        seen[event.id] += 1
        one = truth.get(event.id)
        if one is None:
            find("unexpected", event.id, event.type, event.position, "not in the input")
            continue
        if seen[event.id] > 1:
            find(
                "duplicated",
                event.id,
                event.type,
                event.position,
                f"held {_times(seen[event.id])}",
            )
            continue
        fault = _difference(one, event, places[event.id])
        if fault:
            find("altered", event.id, event.type, event.position, fault)
        sequence, line = highest.get(event.stream, (0, 0))
        if event.sequence < sequence:
            find(
                "out_of_order",
                event.id,
                event.type,
                event.position,
                f"comes after sequence {sequence}",
            )
        elif one.line < line:
            find(
                "out_of_order",
                event.id,
                event.type,
                event.position,
                f"line {one.line} of the input comes after line {line}",
            )
        highest[event.stream] = (max(sequence, event.sequence), max(line, one.line))

    required = truth.keys() if holder.required is None else holder.required
    for event_id in sorted(set(required) - seen.keys(), key=lambda one: truth[one].line):
        one = truth[event_id]
        find("missing", one.id, one.type, places.get(one.id), f"line {one.line} of the input")
    delivered = sum(event_id in seen for event_id in required)
    return HolderResult(holder.name, len(required), delivered, tuple(findings))


def _difference(one: Expected, event: Event, place: Position) -> str:
    """What of the event is not as it was given; "" when everything is."""
    for name, given, held in (
        ("type", one.type, event.type),
        ("time", one.time_us, event.time_us),
        ("key", one.key, event.subject),
        ("content", one.data, event.data),
    ):
        if given != held:
            at = _first_difference(str(given), str(held))
            return f"its {name} is {_around(held, at)}, the input says {_around(given, at)}"
    if event.position != place:
        return f"it stands at {event.position}, elsewhere at {place}"
    if not event.is_intact():
        return "it no longer has the hash that travelled with it"
    return ""


def _agreed_positions(holders: Iterable[Holder]) -> dict[str, Position]:
    """Per id the position that most holders have it at (the first one's, at a tie)."""
    votes: dict[str, Counter[Position]] = {}
    for holder in holders:
        for event in holder.events:
            votes.setdefault(event.id, Counter())[event.position] += 1
    return {event_id: found.most_common(1)[0][0] for event_id, found in votes.items()}


def _times(count: int) -> str:
    return "twice" if count == 2 else f"{count} times"


def _first_difference(one: str, other: str) -> int:
    for at, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return at
    return min(len(one), len(other))


def _around(value: object, at: int) -> str:
    """The text, or where it is long the part around its character ``at``."""
    text = str(value)
    if len(text) <= 2 * _SHOWN:
        return text
    first, last = max(0, at - _SHOWN // 2), at + _SHOWN
    return f"{'…' if first else ''}{text[first:last]}{'…' if last < len(text) else ''}"
