"""Canonical JSON: RFC 8785, with exact integers."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.core.canonical import MAX_DEPTH, canonical_json, parse_json
from crossfade.errors import InvalidEvent

text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # Numbers of RFC 8785's appendix B, given by their IEEE 754 value.
        (0.0, "0"),
        (-0.0, "0"),
        (5e-324, "5e-324"),
        (-5e-324, "-5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (9007199254740992.0, "9007199254740992"),
        (295147905179352830000.0, "295147905179352830000"),
        (9.999999999999997e22, "9.999999999999997e+22"),
        (1e23, "1e+23"),
        (1.0000000000000001e23, "1.0000000000000001e+23"),
        (999999999999999700000.0, "999999999999999700000"),
        (1e21, "1e+21"),
        (9.999999999999997e-7, "9.999999999999997e-7"),
        (0.000001, "0.000001"),
        (333333333.3333332, "333333333.3333332"),
        (1.0, "1"),
        (1e3, "1000"),
        (0.1, "0.1"),
        (-123.456, "-123.456"),
        # Integers keep every digit, beyond 2^53 and beyond 2^64.
        (9007199254740993, "9007199254740993"),
        (123456789012345678901234567890, "123456789012345678901234567890"),
        (True, "true"),
        (None, "null"),
        ('\x00\x1f\x7f"\\/é\u2028', '"\\u0000\\u001f\x7f\\"\\\\/é\u2028"'),
        ({"b": 1, "a": [1, {"d": 1, "c": 2}]}, '{"a":[1,{"c":2,"d":1}],"b":1}'),
        # Keys are sorted by UTF-16 code units: U+1F600 is a surrogate pair (D83D…) and so
        # comes before U+FB33, although its code point is higher.
        ({"\ufb33": 1, "\U0001f600": 2}, '{"\U0001f600":2,"\ufb33":1}'),
    ],
)
def test_known_forms(value: Any, expected: str) -> None:
    assert canonical_json(value) == expected


@given(values)
def test_canonical_text_means_the_same_value(value: Any) -> None:
    assert _same(value, parse_json(canonical_json(value)))


def _same(value: Any, again: Any) -> bool:
    """Equal; a float may come back as the integer literal that denotes the same double."""
    if isinstance(value, float):
        return float(again) == value
    if isinstance(value, list):
        return len(value) == len(again) and all(map(_same, value, again))
    if isinstance(value, dict):
        return value.keys() == again.keys() and all(_same(value[key], again[key]) for key in value)
    return bool(again == value)


@given(values)
def test_canonical_is_a_fixed_point(value: Any) -> None:
    once = canonical_json(value)
    assert canonical_json(json.loads(once)) == once


@given(st.dictionaries(text, scalars, min_size=2, max_size=6))
def test_key_order_does_not_matter(value: dict[str, Any]) -> None:
    turned = dict(reversed(value.items()))
    assert canonical_json(turned) == canonical_json(value)


def test_the_fast_way_and_the_general_way_agree() -> None:
    from crossfade.core import canonical

    value = {"b": "é\n", "a": [1, -5, True, None, {"z": "\u2028", "y": ""}]}
    assert canonical._is_plain(value, 0)
    assert canonical._write(value, 0) == canonical_json(value)


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_depth_has_a_limit_on_both_ways() -> None:
    assert canonical_json(_nested(MAX_DEPTH)) == "[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH
    for leaf in (1, 1.5):
        value = _nested(MAX_DEPTH + 1)
        inner = value
        while isinstance(inner[0], list):
            inner = inner[0]
        inner[0] = leaf
        with pytest.raises(InvalidEvent, match="nested deeper"):
            canonical_json(value)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, {1: 2}, {"a": object()}, b"x", "\ud800", {"\ud800": 1}]
)
def test_what_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises(InvalidEvent, match="data"):
        canonical_json(value)


@pytest.mark.parametrize("text", ["", "{", '{"a":1,"a":2}', "NaN", "[1,]", '{"a":Infinity}'])
def test_what_does_not_parse_is_refused(text: str) -> None:
    with pytest.raises(InvalidEvent, match="not valid JSON"):
        parse_json(text)


def test_a_repeated_key_is_named() -> None:
    with pytest.raises(InvalidEvent, match="'gate' appears twice"):
        parse_json('{"a":{"gate":1,"gate":1}}')
