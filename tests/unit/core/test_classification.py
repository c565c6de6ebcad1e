from typing import Any

import pytest

from crossfade.core.classification import Classification, Classifier, Rule
from crossfade.errors import SettingsError


def only(**condition: Any) -> Classifier:
    rule = Rule(name="it", category="critical", **condition)
    return Classifier([rule], heuristics=False)


@pytest.mark.parametrize(
    ("condition", "type_", "data", "expected"),
    [
        ({"type": "flight.*"}, "flight.departed", {}, True),
        ({"type": "flight.*"}, "a.flight.departed", {}, False),
        ({"type": "flight.*"}, "Flight.departed", {}, False),
        ({"type": "flight.?"}, "flight.x", {}, True),
        ({"type": "flight.[ab]"}, "flight.b", {}, True),
        ({"type": "a.b"}, "axb", {}, False),
        ({"field": "carrier"}, "x", {"carrier": None}, True),
        ({"field": "carrier"}, "x", {}, False),
        ({"field": "a.b.1"}, "x", {"a": {"b": [0, 1]}}, True),
        ({"field": "a.b.2"}, "x", {"a": {"b": [0, 1]}}, False),
        ({"field": "a.b"}, "x", {"a": "text"}, False),
        ({"field": "a"}, "x", [1], False),
        ({"field": "n", "equals": 1}, "x", {"n": 1}, True),
        ({"field": "n", "equals": 1}, "x", {"n": 1.0}, True),
        ({"field": "n", "equals": 1}, "x", {"n": True}, False),
        ({"field": "n", "equals": True}, "x", {"n": 1}, False),
        ({"field": "n", "equals": False}, "x", {"n": False}, True),
        ({"field": "n", "equals": "1"}, "x", {"n": 1}, False),
        ({"equals": "flight.departed"}, "flight.departed", {}, True),
        ({"pattern": "part"}, "flight.departed", {}, True),
        ({"pattern": "^part"}, "flight.departed", {}, False),
        ({"field": "delay", "pattern": r"^\d{3,}$"}, "x", {"delay": 120}, True),
        ({"field": "delay", "pattern": r"^\d{3,}$"}, "x", {"delay": 12}, False),
        ({"field": "late", "pattern": "^true$"}, "x", {"late": True}, True),
        ({"field": "late", "pattern": "^null$"}, "x", {"late": None}, True),
        ({"type": "flight.*", "field": "n", "equals": 1}, "train.left", {"n": 1}, False),
    ],
)
def test_conditions(condition: dict[str, Any], type_: str, data: Any, expected: bool) -> None:
    answer = only(**condition).classify(type_, data)
    assert answer.rule == ("it" if expected else "default")


def test_the_first_rule_that_matches_decides_and_is_named() -> None:
    classifier = Classifier(
        [
            Rule(name="gone", category="critical", type="flight.cancelled"),
            Rule(name="flights", category="user_activity", type="flight.*", topic="flights"),
        ],
        heuristics=True,
    )
    assert classifier.classify("flight.cancelled", {}) == ("critical", "critical", "gone")
    assert classifier.classify("flight.left", {}) == ("user_activity", "flights", "flights")


@pytest.mark.parametrize(
    ("type_", "data", "category"),
    [
        ("payment.failed", {}, "critical"),
        ("flight.cancelled", {}, "critical"),
        ("note", {"severity": "FATAL"}, "critical"),
        ("http.latency", {}, "performance"),
        ("flight.delayed", {}, "performance"),
        ("user.clicked", {}, "user_activity"),
        ("order.placed", {"user_id": 7}, "user_activity"),
        ("debug.dump", {}, "debug"),
        ("flight.departed", {}, "system"),
        ("contest.opened", {}, "system"),
    ],
)
def test_heuristics_are_a_fallback(type_: str, data: Any, category: str) -> None:
    answer = Classifier().classify(type_, data)
    assert answer.category == answer.topic == category
    assert answer.rule == "default" or answer.rule.startswith("heuristic-")


def test_heuristics_can_be_switched_off() -> None:
    classifier = Classifier(heuristics=False, default="debug")
    assert classifier.classify("payment.failed", {"user_id": 1}) == Classification(
        "debug", "debug", "default"
    )


def test_heuristics_keep_to_the_users_own_categories() -> None:
    classifier = Classifier(categories=("orders", "debug"), default="orders")
    assert classifier.classify("payment.failed", {}).category == "orders"
    assert classifier.classify("debug.dump", {}).category == "debug"


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(SettingsError) as failure:
        Classifier(
            [
                Rule(name="a", category="critical", pattern="("),
                Rule(name="b", category="critical"),
                Rule(name="c", category="nowhere", type="x"),
            ],
            default="nothing",
        )
    text = str(failure.value)
    assert len(failure.value.faults) == 4
    for part in ("rule a: missing )", "rule b: sets no condition", "nowhere", "nothing"):
        assert part in text


def test_of_one_type_the_content_decides_each_time() -> None:
    classifier = Classifier(
        [
            Rule(name="vip", category="critical", type="order.*", field="vip", equals=True),
            Rule(name="big", category="performance", field="total", pattern=r"^\d{4,}$"),
            Rule(name="order", category="user_activity", type="order.*"),
            Rule(name="never", category="debug", type="order.placed", field="total"),
        ]
    )
    for _ in range(2):
        for type_, data, rule in (
            ("order.placed", {"vip": True, "total": 1_000}, "vip"),
            ("order.placed", {"vip": 1, "total": 1_000}, "big"),
            ("order.placed", {"total": 1}, "order"),
            ("order.placed", None, "order"),
            ("cargo.moved", {"vip": True, "total": "20000"}, "big"),
            ("cargo.moved", {"vip": True}, "default"),
        ):
            assert classifier.classify(type_, data).rule == rule, (type_, data)


def test_invented_types_are_not_remembered_for_ever() -> None:
    classifier = Classifier()
    for number in range(10_000):
        assert classifier.classify(f"made.{number}", {}).category == "system"
    assert classifier.classify("payment.failed", {}).category == "critical"
    assert classifier._of_type.cache_info().currsize <= 4_096
