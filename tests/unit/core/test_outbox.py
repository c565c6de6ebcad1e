from hypothesis import given
from hypothesis import strategies as st

from crossfade.core.outbox import Outbox, RouteChange, Span, route_change


def test_a_partition_that_enters_is_owed_from_its_next_sequence() -> None:
    assert route_change(is_open=False, wanted=True, head=41) == RouteChange(open=42)
    assert route_change(is_open=False, wanted=True, head=0) == RouteChange(open=1)


def test_a_partition_that_leaves_is_owed_up_to_its_last_sequence() -> None:
    assert route_change(is_open=True, wanted=False, head=41) == RouteChange(close=41)


def test_nothing_changes_for_the_others() -> None:
    assert route_change(is_open=True, wanted=True, head=9) is None
    assert route_change(is_open=False, wanted=False, head=9) is None


def test_what_is_owed_is_routed_committed_and_not_done() -> None:
    box = Outbox()
    box.committed(1, 10)
    assert (box.owed, list(box.spans())) == (0, [])
    box.opened(1, 4)
    assert list(box.spans()) == [Span(1, 4, 10)]
    box.done(1, 7)
    box.committed(1, 12)
    assert (box.owed, list(box.spans())) == (6, [Span(1, 7, 12)])
    box.closed(1, 9)
    assert list(box.spans()) == [Span(1, 7, 9)]
    box.opened(1, 12)
    box.committed(1, 14)
    assert list(box.spans()) == [Span(1, 7, 9), Span(1, 12, 14)]
    assert box.owed == 6
    assert box.next_span(1, 9) == Span(1, 9, 9)
    assert box.next_span(1, 10) == Span(1, 12, 14)
    assert box.next_span(1, 15) is None
    box.done(1, 10)
    assert list(box.spans()) == [Span(1, 12, 14)]
    box.done(1, 15)
    assert (box.owed, box.owing()) == (0, [])


def test_a_cursor_never_goes_back() -> None:
    box = Outbox()
    box.opened(1, 1)
    box.committed(1, 5)
    box.done(1, 6)
    box.done(1, 2)
    assert (box.owed, box.cursor(1)) == (0, 6)


def test_heads_are_of_what_is_done_and_not_of_what_is_committed() -> None:
    box = Outbox()
    box.opened(1, 5)
    box.committed(1, 20)
    box.committed(2, 7)
    assert list(box.done_heads()) == [(1, 4, 5)]
    box.done(1, 8)
    assert list(box.done_heads()) == [(1, 7, 5)]


def test_a_quiet_stream_that_joined_has_a_head_and_one_that_left_untouched_has_none() -> None:
    box = Outbox()
    box.opened(1, 1)
    box.opened(2, 9)
    assert list(box.done_heads()) == [(1, 0, 1), (2, 8, 9)]
    box.closed(2, 8)
    assert list(box.done_heads()) == [(1, 0, 1)]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["commit", "want", "leave", "done"]), st.integers(1, 3), st.integers(1, 4)
    ),
    max_size=60,
)


@given(STEPS)
def test_it_agrees_with_sets_of_sequences(steps: list[tuple[str, int, int]]) -> None:
    """Model: per stream, the set of sequences owed, built event by event."""
    box = Outbox()
    head = dict.fromkeys((1, 2, 3), 0)
    wanted = dict.fromkeys((1, 2, 3), False)
    is_open = dict.fromkeys((1, 2, 3), False)
    owed: dict[int, set[int]] = {1: set(), 2: set(), 3: set()}
    for action, stream, amount in steps:
        if action == "want":
            wanted[stream] = True
        elif action == "leave":
            wanted[stream] = False
        elif action == "commit":
            change = route_change(is_open=is_open[stream], wanted=wanted[stream], head=head[stream])
            if change is not None and change.open is not None:
                box.opened(stream, change.open)
                is_open[stream] = True
            elif change is not None and change.close is not None:
                box.closed(stream, change.close)
                is_open[stream] = False
            new = range(head[stream] + 1, head[stream] + amount + 1)
            if wanted[stream]:
                owed[stream] |= set(new)
            head[stream] += amount
            box.committed(stream, head[stream])
        elif owed[stream]:
            # A sink acknowledges what it was given, so never beyond the head.
            next_ = min(min(owed[stream]) + amount, head[stream] + 1)
            box.done(stream, next_)
            owed[stream] -= set(range(next_))
    got: dict[int, set[int]] = {1: set(), 2: set(), 3: set()}
    for span in box.spans():
        got[span.stream_id] |= set(range(span.first, span.last + 1))
    assert got == owed
    assert box.owed == sum(map(len, owed.values()))
    assert set(box.owing()) == {stream for stream, rest in owed.items() if rest}
