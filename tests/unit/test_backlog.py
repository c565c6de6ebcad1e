"""What a sink is owed comes out once and in the order of commit, from memory or from the file."""

import asyncio
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.backlog import Backlog
from crossfade.core.event import Event
from crossfade.core.outbox import Outbox, Span, route_change
from crossfade.core.recent import Recent

SINK = "supabase"
STREAMS = 3


class Held:
    """A journal of lists: what was committed, what of it is recent, what a sink is owed."""

    def __init__(self, limit_events: int) -> None:
        self.recent = Recent(limit_events, 1_000_000)
        self.books = Outbox()
        self.committed: list[tuple[int, Event]] = []
        self.owed: list[Event] = []
        self.reads = 0
        self._open = [False] * STREAMS

    def outbox(self, sink: str) -> Outbox:
        assert sink == SINK
        return self.books

    def head(self, stream_id: int) -> int:
        return sum(one == stream_id for one, _ in self.committed)

    def commit(self, streams: Sequence[int], wanted: Sequence[bool]) -> None:
        rows = []
        for stream_id in streams:
            head = self.head(stream_id)
            change = route_change(
                is_open=self._open[stream_id], wanted=wanted[stream_id], head=head
            )
            self._open[stream_id] = wanted[stream_id]
            if change is not None and change.open is not None:
                self.books.opened(stream_id, change.open)
            elif change is not None and change.close is not None:
                self.books.closed(stream_id, change.close)
            number = len(self.committed) + 1
            event = Event(
                f"e{number}", "app", "t", 0, "", "c", "c", stream_id, 1, head + 1, "{}", 0, number
            )
            self.committed.append((stream_id, event))
            rows.append((stream_id, event))
            if wanted[stream_id]:
                self.owed.append(event)
        for stream_id in set(streams):
            self.books.committed(stream_id, self.head(stream_id))
        self.recent.committed(rows)

    async def read(self, spans: Sequence[Span], limit: int) -> list[list[Event]]:
        self.reads += 1
        return [
            [
                event
                for stream_id, event in self.committed
                if stream_id == span.stream_id and span.first <= event.sequence <= span.last
            ][:limit]
            for span in spans
        ]


_COMMIT = st.tuples(
    st.lists(st.integers(0, STREAMS - 1), min_size=1, max_size=6),
    st.lists(st.booleans(), min_size=STREAMS, max_size=STREAMS),
)
_STEPS = st.lists(
    st.one_of(_COMMIT, st.integers(1, 5), st.sampled_from(["clear", "done"])), max_size=30
)


@settings(max_examples=150, deadline=None)
@given(steps=_STEPS, limit=st.integers(1, 20))
def test_everything_owed_once_in_the_order_of_commit(steps: list[Any], limit: int) -> None:
    journal = Held(limit)
    backlog = Backlog(journal, SINK)  # type: ignore[arg-type]
    taken: list[Event] = []

    def done() -> None:
        for event in taken:
            journal.books.done(event.partition, event.sequence + 1)

    for step in steps:
        if step == "clear":
            journal.recent.clear()
        elif step == "done":
            done()
        elif isinstance(step, int):
            batch = asyncio.run(backlog.take(step, 1_000_000))
            assert len(batch) <= step
            assert bool(batch) == (len(taken) < len(journal.owed))
            taken += batch
        else:
            journal.commit(*step)
    while batch := asyncio.run(backlog.take(4, 1_000_000)):
        taken += batch
    assert taken == journal.owed
    done()
    assert journal.books.owed == 0


def test_who_keeps_up_never_reads_the_file() -> None:
    journal = Held(8)
    backlog = Backlog(journal, SINK)  # type: ignore[arg-type]
    for _ in range(30):
        journal.commit([0, 1, 2], [True] * 3)
        assert len(asyncio.run(backlog.take(100, 1_000_000))) == 3
    assert journal.reads == 0
    for _ in range(5):
        journal.commit([0, 1, 2], [True] * 3)
    assert len(asyncio.run(backlog.take(100, 1_000_000))) == 15
    assert journal.reads > 0, "the oldest had left the memory"
    reads = journal.reads
    journal.commit([1], [True] * 3)
    assert len(asyncio.run(backlog.take(100, 1_000_000))) == 1
    assert journal.reads == reads


def test_what_was_committed_while_it_was_not_wanted_is_not_owed() -> None:
    journal = Held(8)
    backlog = Backlog(journal, SINK)  # type: ignore[arg-type]
    for wanted in (True, False, True):
        journal.commit([0, 1], [wanted, True, True])
    batch = asyncio.run(backlog.take(100, 1_000_000))
    assert [(one.partition, one.sequence) for one in batch] == [
        (0, 1), (1, 1), (1, 2), (0, 3), (1, 3)
    ]  # fmt: skip
    assert journal.reads == 0


def test_i10_a_batch_has_a_size_and_memory_a_bound() -> None:
    journal = Held(1_000)
    backlog = Backlog(journal, SINK)  # type: ignore[arg-type]
    journal.commit([0] * 10, [True] * 3)
    assert len(asyncio.run(backlog.take(100, 1_000))) == 2
    recent = Recent(limit_events=100, limit_bytes=1_000)
    event = journal.committed[0][1]
    for sequence in range(1, 500):
        recent.committed([(0, event._replace(sequence=sequence, data="x" * 20))])
        held = [one.sequence for _, one in recent.after(0)]
        assert sum(20 for _ in held) <= 1_000
        assert held == list(range(recent.first + 1, recent.end + 1))
        assert recent.end == sequence
        assert recent.holds(0, held[0])
        assert not recent.holds(0, held[0] - 1)
        assert not recent.holds(1, 1)
    assert [one.sequence for _, one in recent.after(recent.end - 2)] == [498, 499]
