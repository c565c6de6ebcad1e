from typing import Any

import pytest

from crossfade.local.supabase.change_filters import (
    ChangesError,
    Subscription,
    number_of,
    parse_subscription,
)


def parsed(**params: Any) -> Subscription:
    return parse_subscription({"schema": "public", "table": "todos", **params})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=eq.x y", '("row"."a" = \'x y\')'),
        ("a=not.eq.x", 'not ("row"."a" = \'x\')'),
        ('a=in.(x,"y,z")', "(\"row\".\"a\" in ('x', 'y,z'))"),
        ("a=is.NULL", '("row"."a" is null)'),
        ("a=like.x%", '("row"."a" like \'x%\')'),
        ("a=eq.a.b=c", '("row"."a" = \'a.b=c\')'),
        ("a=eq.it's", "(\"row\".\"a\" = 'it''s')"),
    ],
)
def test_filters(text: str, expected: str) -> None:
    (one,) = parsed(filter=text).filters
    assert one.condition("row").as_string() == expected


def test_filters_are_joined_by_commas() -> None:
    assert [one.column for one in parsed(filter="a=gt.0, b=in.(1,2),c=is.true").filters] == [
        "a",
        "b",
        "c",
    ]
    assert parsed(filter=" ").filters == ()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"filter": "garbage"}, 'Error parsing `filter` params: ["garbage"]'),
        ({"filter": "a=foo.x"}, 'Error parsing `filter` params: ["foo", "x"]'),
        ({"filter": "a=in.x"}, 'Error parsing `filter` params: ["in", "x"]'),
        ({"filter": "a=is.maybe"}, 'Error parsing `filter` params: ["is", "maybe"]'),
        ({"select": "a"}, "Error parsing `select` params: expected a list"),
        ({"select": ["a"], "table": "*"}, "Column selection is not supported for wildcard"),
        ({"schema": None, "table": None}, "No subscription params provided"),
        ({"filter": 1}, "No subscription params provided"),
    ],
)
def test_what_is_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ChangesError) as raised:
        parsed(**params)
    assert str(raised.value).startswith(message)


def test_what_is_covered() -> None:
    assert parsed(event="insert").covers("INSERT", "public", "todos")
    assert not parsed(event="INSERT").covers("UPDATE", "public", "todos")
    everything = parse_subscription({"event": "*", "schema": "public"})
    assert everything.covers("DELETE", "public", "notes")
    assert not everything.covers("DELETE", "other", "notes")
    assert parse_subscription({"table": "todos"}).covers("UPDATE", "public", "todos")


def test_the_same_entry_has_the_same_number() -> None:
    assert number_of({"a": 1, "b": 2}) == number_of({"b": 2, "a": 1})
    assert number_of({"a": 1}) != number_of({"a": 2})
