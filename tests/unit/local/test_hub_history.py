from crossfade.core.event import Head, Stream
from crossfade.local.hub_history import History

A = Stream("app", 1, "critical", 0)
B = Stream("app", 1, "debug", 3)


def numbered(sequence: int) -> bytes:
    return f"event-{sequence}".encode()


def filled(history: History, stream: Stream, first: int, last: int) -> None:
    for sequence in range(first, last + 1):
        assert history.append(stream, sequence, numbered(sequence))


def read(history: History, stream: Stream, first: int, last: int = 10**9) -> list[bytes]:
    held = history.get(stream)
    assert held is not None
    return history.read(held, first, last, 10**9)


def test_a_repeated_event_is_not_taken_again() -> None:
    history = History(10, 10_000)
    filled(history, A, 1, 3)
    assert not history.append(A, 3, b"other")
    assert not history.append(A, 1, b"other")
    assert read(history, A, 1) == [numbered(1), numbered(2), numbered(3)]


def test_the_oldest_event_of_all_streams_is_forgotten_first() -> None:
    history = History(3, 10_000)
    filled(history, A, 1, 2)
    filled(history, B, 1, 2)
    held = history.get(A)
    assert held is not None
    assert (history.events, held.first, held.head) == (3, 2, 2)
    assert read(history, A, 1) == []
    assert read(history, A, 2) == [numbered(2)]
    assert read(history, B, 1) == [numbered(1), numbered(2)]


def test_the_limit_in_bytes_holds() -> None:
    history = History(1_000, 20)
    filled(history, A, 1, 9)
    assert history.events == 2


def test_a_history_of_nothing_still_knows_heads() -> None:
    history = History(0, 0)
    filled(history, A, 1, 3)
    assert history.events == 0
    assert history.heads(lambda _: True) == [Head(A, 3, 1)]


def test_a_jump_forgets_what_was_before_it() -> None:
    history = History(10, 10_000)
    filled(history, A, 1, 3)
    assert history.append(A, 7, numbered(7))
    assert read(history, A, 3) == []
    assert read(history, A, 7) == [numbered(7)]
    assert history.events == 1


def test_jumps_without_end_do_not_grow_the_record_of_arrivals() -> None:
    history = History(100, 10_000)
    for sequence in range(1, 20_000, 2):
        history.append(A, sequence, b"x")
    assert history.events == 1
    assert len(history._arrivals) < 2_000


def test_announced_heads_tell_what_is_missing_and_who_can_fill_it() -> None:
    history = History(10, 10_000)
    history.announce(Head(A, 1_000, 17))
    assert history.heads(lambda _: True) == [Head(A, 1_000, 17)]
    filled(history, A, 1_001, 1_002)
    assert history.heads(lambda _: True) == [Head(A, 1_002, 17)]
    assert read(history, A, 1_000) == []


def test_an_announcement_behind_the_head_changes_the_floor_only() -> None:
    history = History(10, 10_000)
    filled(history, A, 1, 5)
    history.announce(Head(A, 3, 1))
    assert history.heads(lambda _: True) == [Head(A, 5, 1)]
    assert len(read(history, A, 1)) == 5


def test_a_page_is_bounded_but_never_empty() -> None:
    history = History(10, 10_000)
    filled(history, A, 1, 5)
    held = history.get(A)
    assert held is not None
    assert len(history.read(held, 1, 5, 1)) == 1
    assert len(history.read(held, 1, 5, 16)) == 2
    assert history.read(held, 2, 3, 10_000) == [numbered(2), numbered(3)]
    assert history.read(held, 6, 9, 10_000) == []
