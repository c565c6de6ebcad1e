"""Gaps of the tap's coverage that a person has looked at and accepted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from crossfade.core.event import Stream
from crossfade.core.intervals import Interval
from crossfade.core.reconciliation_plan import Range
from crossfade.errors import UsageError

__all__ = ["MAX_GAPS", "MAX_REASON_CHARS", "Gap", "gaps_by_stream", "gaps_from_json", "ranges_of"]

MAX_GAPS = 10_000
"""Most gaps of one result or one call."""
MAX_REASON_CHARS = 2_000
"""Longest reason, and longest name; the audit keeps them for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Consecutive events that the tap could not see, accepted as such.

    Nobody knows whether they were delivered; ``by`` says who decided to go on without that
    proof, ``reason`` why, ``at_us`` when (microseconds since 1970).
    """

    range: Range
    by: str
    reason: str
    at_us: int

    def to_json(self) -> dict[str, Any]:
        """The gap as JSON values."""
        stream, first, last = self.range
        place = "/".join(str(part) for part in stream)
        return {
            "range": f"{place}/{first}-{last}",
            "by": self.by,
            "reason": self.reason,
            "at_us": self.at_us,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Gap":
        """Read what ``to_json`` wrote."""
        return cls(
            range=Range.parse(value["range"]),
            by=str(value["by"]),
            reason=str(value["reason"]),
            at_us=int(value["at_us"]),
        )


def gaps_from_json(values: object) -> tuple[Gap, ...]:
    """Read gaps that somebody sent.

    Raises:
        UsageError: they are not gaps, or one names nobody or no reason.
    """
    if not isinstance(values, list) or len(values) > MAX_GAPS:
        raise UsageError(f"gaps: must be a list of at most {MAX_GAPS:,}")
    for one in values:
        if not isinstance(one, Mapping) or not all(
            isinstance(one.get(name), str) for name in ("range", "by", "reason")
        ):
            raise UsageError("gaps: each must be {range, by, reason, at_us}, the first three texts")
        if max(len(one[name]) for name in ("range", "by", "reason")) > MAX_REASON_CHARS:
            raise UsageError(f"gaps: a text is longer than {MAX_REASON_CHARS:,} characters")
    try:
        found = tuple(Gap.from_json(one) for one in values)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"gaps: {type(error).__name__}: {error}") from error
    if not all(one.by.strip() and one.reason.strip() for one in found):
        raise UsageError("gaps: each needs who accepted it (by) and why (reason)")
    return found


def gaps_by_stream(gaps: Iterable[Gap]) -> dict[Stream, tuple[Interval, ...]]:
    """The accepted sequences of each stream; a gap accepted twice counts once."""
    found: dict[Stream, set[Interval]] = {}
    for gap in gaps:
        found.setdefault(gap.range.stream, set()).add((gap.range.first, gap.range.last))
    return {stream: tuple(sorted(intervals)) for stream, intervals in found.items()}


def ranges_of(stream: Stream, sequences: Iterable[int]) -> list[Range]:
    """The sequences as ranges of consecutive ones."""
    found: list[Range] = []
    for sequence in sorted(sequences):
        if found and found[-1].last + 1 == sequence:
            found[-1] = found[-1]._replace(last=sequence)
        else:
            found.append(Range(stream, sequence, sequence))
    return found
