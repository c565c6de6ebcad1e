from crossfade.core.continuity import Tally
from crossfade.core.event import Stream
from crossfade.core.flow import MARKS, Fill, Flow, prove

STREAM = Stream("app", 1, "critical", 0)


def flow() -> Flow:
    return Flow(STREAM, 1, Tally(1), [])


def test_i10_marks_are_bounded_and_keep_the_oldest_time() -> None:
    one = flow()
    for number in range(1, 100):
        one.mark(number, number * 10)
    assert len(one.marks) == MARKS
    assert one.head == 99
    assert one.look_for_gap()
    assert (one.gap_last, one.gap_ms) == (99, 10)


def test_marks_below_next_are_forgotten() -> None:
    one = flow()
    one.mark(3, 10)
    one.mark(8, 20)
    one.next = 5
    assert one.look_for_gap()
    assert (one.gap_last, one.gap_ms) == (8, 20)
    one.mark(4, 30)
    assert one.head == 8
    one.next = 9
    assert not one.look_for_gap()
    assert one.head == 8


def test_only_a_floor_of_the_authority_is_proof() -> None:
    fill = Fill(STREAM, 10, 12, "hub")
    assert prove(fill, [], None, None, by_authority=True) == (0, None)
    assert prove(fill, [], 10, 50, by_authority=True) == (0, 50)
    assert prove(fill, [], 11, 50, by_authority=True) == (11, 50)


def test_another_store_proves_by_floor_by_page_or_by_head() -> None:
    fill = Fill(STREAM, 10, 12, "supabase")
    assert prove(fill, [], None, None, by_authority=False) == (None, None)
    assert prove(fill, [], 30, 50, by_authority=False) == (30, 50)
    assert prove(fill, [], 1, 50, by_authority=False) == (13, 50)
    assert prove(fill, [], 1, 12, by_authority=False) == (0, 12)
