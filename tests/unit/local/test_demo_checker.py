"""Every kind of fault is named, with the event and the place; a clean set has none."""

import pytest

from crossfade.core.event import Event, content_hash
from crossfade.local.demo_checker import Expected, Holder, HolderResult, check, expected_event


def truth(count: int = 6) -> list[Expected]:
    return [
        expected_event(
            index + 1,
            {
                "id": f"id-{index}",
                "type": "flight.departed",
                "time": f"2013-01-01T10:00:{index:02}Z",
                "key": f"N{index % 2}",
                "data": {"n": index, "b": 1.5},
            },
        )
        for index in range(count)
    ]


def held(one: Expected, *, sequence: int | None = None, partition: int | None = None) -> Event:
    event = Event(
        id=one.id,
        source="app",
        type=one.type,
        time_us=one.time_us,
        subject=one.key,
        category="system",
        topic="system",
        partition=(one.line - 1) % 2 if partition is None else partition,
        epoch=1,
        sequence=(one.line + 1) // 2 if sequence is None else sequence,
        data=one.data,
        hash=0,
    )
    return event._replace(hash=content_hash(event))


def judge(events: list[Event], required: set[str] | None = None) -> HolderResult:
    expected = truth()
    good = [held(one) for one in expected]
    holders = [
        Holder("journal", good),
        Holder("websocket", good),
        Holder("supabase", events, required),
    ]
    journal, websocket, supabase = check(expected, holders)
    assert journal.clean
    assert websocket.clean
    return supabase


def test_a_faithful_holder_is_clean() -> None:
    result = judge([held(one) for one in truth()])
    assert result.clean
    assert result.to_json() == {
        "expected": 6,
        "delivered": 6,
        "missing": 0,
        "duplicated": 0,
        "altered": 0,
        "out_of_order": 0,
        "unexpected": 0,
    }


def test_streams_may_interleave_freely() -> None:
    events = [held(one) for one in truth()]
    assert judge(events[0::2] + events[1::2]).clean


def test_a_missing_event_is_named_with_the_position_that_others_know() -> None:
    events = [held(one) for one in truth() if one.line != 4]
    (finding,) = judge(events).findings
    assert (finding.kind, finding.id, finding.position) == ("missing", "id-3", "app/1/system/1/2")
    assert "line 4" in finding.detail
    assert str(finding).startswith(
        "supabase: id-3 (flight.departed) at app/1/system/1/2 is missing"
    )


def test_a_missing_event_that_nobody_holds_is_still_named() -> None:
    expected = truth()
    (result,) = check(expected, [Holder("journal", [held(one) for one in expected[:-1]])])
    (finding,) = result.findings
    assert (finding.kind, finding.id, finding.position) == ("missing", "id-5", "")


def test_a_doubled_event_is_named_once_per_repeat() -> None:
    events = [held(one) for one in truth()]
    result = judge([*events[:3], events[2], *events[3:], events[2]])
    assert [(one.kind, one.id) for one in result.findings] == [("duplicated", "id-2")] * 2
    assert result.delivered == result.expected
    assert not result.clean


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"data": '{"b":1.5,"n":99}'}, "content"),
        ({"type": "flight.arrived"}, "type"),
        ({"time_us": 5}, "time"),
        ({"subject": "N9"}, "key"),
        ({"hash": 7}, "hash"),
        ({"category": "debug"}, "hash"),
    ],
)
def test_an_altered_event_is_named_with_what_differs(change: dict[str, object], word: str) -> None:
    events = [held(one) for one in truth()]
    events[4] = events[4]._replace(**change)
    (finding,) = judge(events).findings
    assert (finding.kind, finding.id) == ("altered", "id-4")
    assert word in finding.detail


def test_of_a_long_content_the_part_that_differs_is_shown() -> None:
    expected = truth(1)
    long = "x" * 300
    one = expected[0]._replace(data=f'{{"a":"{long}","n":1,"z":"{long}"}}')
    event = held(one)
    changed = event._replace(data=event.data.replace('"n":1', '"n":2'))
    (result,) = check([one], [Holder("supabase", [changed])])
    (finding,) = result.findings
    is_, says = finding.detail.split(", the input says ")
    assert '"n":2' in is_
    assert '"n":1' in says
    assert len(finding.detail) < 250


def test_an_alteration_that_carries_a_fresh_hash_is_found_all_the_same() -> None:
    events = [held(one) for one in truth()]
    forged = events[4]._replace(data='{"b":1.5,"n":99}')
    events[4] = forged._replace(hash=content_hash(forged))
    (finding,) = judge(events).findings
    assert (finding.kind, finding.id) == ("altered", "id-4")


def test_another_position_than_elsewhere_is_an_alteration() -> None:
    expected = truth()
    events = [held(one) for one in expected]
    events[5] = held(expected[5], sequence=9)
    (finding,) = judge(events).findings
    assert (finding.kind, finding.id) == ("altered", "id-5")
    assert "elsewhere at app/1/system/1/3" in finding.detail


def test_an_event_after_a_later_one_of_its_stream_is_out_of_order() -> None:
    events = [held(one) for one in truth()]
    events[0], events[2] = events[2], events[0]
    (finding,) = judge(events).findings
    assert (finding.kind, finding.id) == ("out_of_order", "id-0")


def test_handed_over_in_the_inputs_order_but_against_the_sequences_is_out_of_order() -> None:
    expected = truth(4)
    first, second = held(expected[0], sequence=2), held(expected[2], sequence=1)
    holder = Holder("everything-1", [first, second, held(expected[1]), held(expected[3])])
    (result,) = check(expected, [holder])
    (finding,) = result.findings
    assert (finding.kind, finding.id) == ("out_of_order", "id-2")
    assert "after sequence 2" in finding.detail


def test_sequences_that_do_not_follow_the_input_are_out_of_order() -> None:
    expected = truth(4)
    swapped = [held(expected[0], sequence=2), held(expected[2], sequence=1)]
    others = [held(expected[1]), held(expected[3])]
    holder = Holder("journal", [swapped[1], swapped[0], *others])
    (result,) = check(expected, [holder])
    (finding,) = result.findings
    assert (finding.kind, finding.id) == ("out_of_order", "id-0")
    assert "input" in finding.detail


def test_an_event_that_nobody_published_is_unexpected() -> None:
    events = [held(one) for one in truth()]
    stranger = events[0]._replace(id="stranger", sequence=4)
    (finding,) = judge([*events, stranger]).findings
    assert (finding.kind, finding.id) == ("unexpected", "stranger")


def test_a_holder_is_asked_only_for_what_it_must_hold() -> None:
    wanted = {one.id for one in truth() if one.key == "N1"}
    result = judge([held(one) for one in truth() if one.key == "N1"], wanted)
    assert result.clean
    assert result.expected == 3


def test_an_empty_holder_is_not_clean() -> None:
    result = judge([])
    assert not result.clean
    assert result.count("missing") == 6
