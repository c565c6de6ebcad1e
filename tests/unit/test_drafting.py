from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from crossfade.core.classification import Classifier, Rule
from crossfade.core.routing import partition_of
from crossfade.drafting import Drafter
from crossfade.errors import InvalidEvent

NOW_US = 1_700_000_000_123_456


def drafter(limit: int = 1_000) -> Drafter:
    rules = [Rule(name="r", category="critical", type="flight.*", topic="flights")]
    return Drafter(
        Classifier(rules, heuristics=False),
        partitions=50,
        max_event_bytes=limit,
        now_us=lambda: NOW_US,
        random=lambda count: b"\x07" * count,
    )


def test_a_draft_is_classified_placed_and_serialised() -> None:
    draft = drafter().draft("flight.left", {"b": 1, "a": [1.0, "é"]}, key="N1")
    assert draft.data == '{"a":[1,"é"],"b":1}'
    assert (draft.category, draft.topic) == ("critical", "flights")
    assert draft.partition == partition_of("flights", "N1", 50)
    assert draft.time_us == NOW_US
    assert draft.id[14] == "7"
    assert draft.subject == "N1"


@pytest.mark.parametrize(
    "time",
    [
        datetime(2024, 2, 3, 4, 5, 6, 7, tzinfo=UTC),
        datetime(2024, 2, 3, 5, 5, 6, 7, tzinfo=timezone(timedelta(hours=1))),
        "2024-02-03T04:05:06.000007Z",
        "2024-02-03T05:05:06.000007+01:00",
    ],
)
def test_time_in_any_zone_is_the_same_time(time: Any) -> None:
    assert drafter().draft("x", 1, time=time).time_us == 1_706_933_106_000_007


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "", "data": 1}, "type: must not be empty"),
        ({"type": 7, "data": 1}, "type: must be a string"),
        ({"type": "x" * 257, "data": 1}, "type: 257 characters"),
        ({"type": "a\nb", "data": 1}, "type: control characters"),
        ({"type": "x", "data": 1, "key": 7}, "key: must be a string"),
        ({"type": "x", "data": 1, "key": "a\x1fb"}, "key: control characters"),
        ({"type": "x", "data": 1, "id": ""}, "id: must not be empty"),
        ({"type": "x", "data": 1, "id": "\ud800"}, "id: not valid Unicode"),
        ({"type": "x", "data": 1, "time": "yesterday"}, "time: 'yesterday' is not RFC 3339"),
        ({"type": "x", "data": 1, "time": 5}, "time: must be a datetime"),
        ({"type": "x", "data": 1, "time": datetime(2024, 1, 1)}, "time: has no zone"),
        ({"type": "x", "data": 1, "time": "0999-12-31T23:59:59Z"}, "time: is before"),
        ({"type": "x", "data": {1: 2}}, "data: object key 1 is not a string"),
        ({"type": "x", "data": float("nan")}, "data: nan is not JSON"),
        ({"type": "x", "data": {"a": object()}}, "data: object is not a JSON type"),
        ({"type": "x", "data": "y" * 999}, "data: 1001 bytes, at most 1000"),
        ({"type": "x", "data": "é" * 500}, "data: 1002 bytes, at most 1000"),
        ({"data": 1}, "type: is missing"),
        ({"type": "x"}, "data: is missing"),
        ({"type": "x", "data": 1, "tiem": 2}, "tiem: unknown field"),
        ([], "must be an object"),
    ],
)
def test_a_fault_names_its_field(fields: Any, message: str) -> None:
    with pytest.raises(InvalidEvent) as failure:
        drafter().draft_from(fields)
    assert str(failure.value).startswith(message)


def test_the_limit_itself_is_allowed_and_absent_fields_may_be_null() -> None:
    fields = {"type": "x", "data": "é" * 499, "key": None, "time": None, "id": None}
    assert len(drafter().draft_from(fields).data.encode()) == 1_000


def test_each_rule_is_counted() -> None:
    chosen = Classifier([Rule(name="ours", category="debug", type="a.*")], heuristics=False)
    drafter = Drafter(chosen, partitions=4, max_event_bytes=1_000, now_us=lambda: 1)
    for type_ in ("a.b", "x", "a.c"):
        drafter.draft(type_, {})
    assert drafter.rules == {"ours": 2, "default": 1}
