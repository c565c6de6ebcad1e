"""One stream as a subscriber sees it: what comes next, what waits, what is known to exist."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from crossfade.core.continuity import Tally
from crossfade.core.event import Event, Stream

__all__ = ["MARKS", "RECENT", "SUPERSEDED_ROUNDS", "Answer", "Fill", "Flow", "Progress", "prove"]

RECENT = 256
"""Hashes remembered per stream: a duplicate that is older is not checked for a conflict."""

SUPERSEDED_ROUNDS = 3
"""Rounds over all sources before the missing end of an epoch that is over is given up."""

MARKS = 4
"""Heads remembered per stream with the time they were first known."""


class Fill(NamedTuple):
    """A page wanted: the sequences ``first`` to ``last`` of ``stream``, from ``source``."""

    stream: Stream
    first: int
    last: int
    source: str


class Progress(NamedTuple):
    """Where a stream stands: ``next`` is delivered next, ``head`` is the highest known."""

    stream: Stream
    next: int
    head: int


class Answer(NamedTuple):
    """What a page without the wanted sequence proves of its source.

    It holds nothing below ``floor``; 0 when it may still hold what was wanted, None when it
    holds nothing of the stream at all. ``head`` is its last sequence, None when it has none.
    """

    floor: int | None
    head: int | None


def prove(
    fill: Fill,
    events: Sequence[Event],
    floor: int | None,
    head: int | None,
    *,
    by_authority: bool,
) -> Answer:
    """What a page that lacks ``fill.first`` says of its source.

    The authority may be cut off from the journal for now, so of it only a floor is proof.
    Another store that has later sequences and not this one does not hold it either.
    """
    if by_authority:
        return Answer(floor if floor is not None and floor > fill.first else 0, head)
    if floor is None or floor > fill.first:
        return Answer(floor, head)
    if events:
        return Answer(min(event.sequence for event in events), head)
    return Answer(fill.last + 1 if head is not None and head > fill.last else 0, head)


class Flow:
    """State of one stream; not frozen, because every event moves it.

    ``next`` is the sequence to deliver next. ``order`` holds the sequences that wait in
    ``buffer``, sorted. ``marks`` holds heads at or above ``next`` with the time each was
    first known; a hole lies between ``next`` and ``gap_last`` since ``gap_ms``. ``waits``
    holds everything back until an older epoch is complete. While ``next`` is ``origin``
    nothing has been handed over, and a ``movable`` one may still begin higher.
    """

    __slots__ = (
        "ahead",
        "answers",
        "attempts",
        "buffer",
        "fill",
        "gap_last",
        "gap_ms",
        "known_from",
        "lane",
        "marks",
        "movable",
        "next",
        "not_before_ms",
        "order",
        "origin",
        "recent",
        "stream",
        "tally",
        "turn",
        "waits",
    )

    def __init__(self, stream: Stream, start: int, tally: Tally, lane: list["Flow"]) -> None:
        self.stream = stream
        self.next = start
        self.tally = tally
        self.lane = lane
        self.movable = False
        self.waits = False
        self.origin = start
        self.known_from = start
        self.recent = [0] * RECENT
        self.buffer: dict[int, tuple[Event, int, int]] = {}
        self.order: list[int] = []
        self.marks: list[tuple[int, int]] = []
        self.ahead = False
        self.gap_last = 0
        self.gap_ms = 0
        self.fill: Fill | None = None
        self.turn = 0
        self.answers: dict[int, Answer | None] = {}
        self.attempts = 0
        self.not_before_ms = 0

    @property
    def head(self) -> int:
        """The highest sequence known to exist."""
        highest = self.next - 1
        if self.order:
            highest = max(highest, self.order[-1])
        if self.marks:
            highest = max(highest, self.marks[-1][0])
        return highest

    def mark(self, sequence: int, now_ms: int) -> None:
        """Remember that the stream goes up to ``sequence`` at least."""
        marks = self.marks
        if sequence < self.next or (marks and sequence <= marks[-1][0]):
            return
        if len(marks) < MARKS:
            marks.append((sequence, now_ms))
        else:
            # The older time stays: an event is then missed a little too early, never late.
            marks[-1] = (sequence, marks[-1][1])

    def hold(self, event: Event, via: int, now_ms: int) -> None:
        """Put an event that is not yet due into the buffer."""
        sequence = event.sequence
        self.buffer[sequence] = (event, via, now_ms)
        order = self.order
        if not order or sequence > order[-1]:
            order.append(sequence)
        else:
            order.insert(bisect_left(order, sequence), sequence)

    def evict_highest(self, now_ms: int) -> None:
        """Drop the highest event that waits, and remember that it exists."""
        sequence = self.order.pop()
        del self.buffer[sequence]
        self.mark(sequence, now_ms)

    def look_for_gap(self) -> bool:
        """Set the hole in front of ``next``; False when nothing beyond is known."""
        while self.marks and self.marks[0][0] < self.next:
            del self.marks[0]
        marks, order = self.marks, self.order
        if order:
            self.gap_last = order[0] - 1
            self.gap_ms = self.buffer[order[0]][2]
            if marks:
                self.gap_ms = min(self.gap_ms, marks[0][1])
            return True
        if marks:
            self.gap_last = marks[-1][0]
            self.gap_ms = marks[0][1]
            return True
        return False

    def calm(self) -> None:
        """Forget what was asked and answered about a hole that is closed or has moved."""
        self.turn = 0
        self.attempts = 0
        self.not_before_ms = 0
        self.answers.clear()

    def given_up(self) -> tuple[int, str] | None:
        """Up to where the hole is lost for good, and why, once every source has answered.

        Either every one of them proved that it holds nothing so low, or the epoch ended
        with its journal and none of them goes so high (then only after
        ``SUPERSEDED_ROUNDS`` rounds, because a store may lag).
        """
        answers = [answer for answer in self.answers.values() if answer is not None]
        if len(answers) < len(self.answers):
            return None
        floors = [answer.floor for answer in answers if answer.floor is not None]
        if floors and min(floors) > self.next:
            last = min(floors) - 1
            return (min(last, self.order[0] - 1) if self.order else last), "retention"
        if (
            self.lane[-1].stream.epoch > self.stream.epoch
            and self.attempts >= SUPERSEDED_ROUNDS
            and all(answer.head is None or answer.head < self.next for answer in answers)
        ):
            return self.gap_last, "superseded"
        return None
