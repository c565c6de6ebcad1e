"""What an event is about: the first rule that matches gives its category and topic.

Rules are compiled once. Where none matches, heuristics look at the event's type and a few
telling fields of its content; they can be switched off, since a guess may surprise. What
even they do not know gets the default category.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import Any, NamedTuple

from crossfade.core.flags import DEFAULT_CATEGORIES
from crossfade.errors import SettingsError

__all__ = ["DEFAULT_RULE", "HEURISTIC_RULES", "Classification", "Classifier", "Rule"]

DEFAULT_RULE = "default"
"""The rule's name when nothing matched."""

_TYPES = 4_096
"""Types whose rules are remembered: far more than a stream has, and a bound all the same."""
_ABSENT = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A condition, and what follows from it. Every condition that is given must hold.

    ``type`` is a shell pattern over the whole type (case matters); ``field`` a dotted path
    into the content (numbers index lists), which must exist; ``equals`` is compared with
    the field's value (or the type, without a field), where ``true`` is not 1; ``pattern``
    is a regular expression searched in the field's text (or in the type, without a field).
    """

    name: str
    category: str
    type: str | None = None
    field: str | None = None
    equals: str | int | float | bool | None = None
    pattern: str | None = None
    topic: str | None = None


class Classification(NamedTuple):
    """The answer, and which rule gave it."""

    category: str
    topic: str
    rule: str


_WORDS = r"(?:^|[._:/\- ])(?:{})(?:$|[._:/\- ])"


def _words(*alternatives: str) -> str:
    return "(?i)" + _WORDS.format("|".join(alternatives))


HEURISTIC_RULES = (
    Rule(
        name="heuristic-severity",
        category="critical",
        field="severity",
        pattern=r"(?i)^(critical|fatal|emergency|alert)$",
    ),
    Rule(
        name="heuristic-critical",
        category="critical",
        pattern=_words(
            "errors?",
            "failed",
            "failure",
            "fatal",
            "alarm",
            "alert",
            "payments?",
            "fraud",
            "security",
            "outage",
            "cancell?ed",
            "diverted",
            "emergency",
        ),
    ),
    Rule(
        name="heuristic-debug",
        category="debug",
        pattern=_words("debug", "trace", "verbose", "test"),
    ),
    Rule(
        name="heuristic-performance",
        category="performance",
        pattern=_words(
            "metrics?",
            "latency",
            "perf",
            "performance",
            "timing",
            "delay(?:ed)?",
            "slow",
            "throughput",
            "duration",
            "benchmark",
        ),
    ),
    Rule(
        name="heuristic-user",
        category="user_activity",
        pattern=_words(
            "users?",
            "click(?:ed)?",
            "login",
            "logout",
            "signup",
            "session",
            "page",
            "view(?:ed)?",
            "search(?:ed)?",
            "cart",
        ),
    ),
    Rule(
        name="heuristic-user-field",
        category="user_activity",
        field="user_id",
    ),
)
"""The fallback. A heuristic whose category is not among the configured ones is left out."""


class Classifier:
    """Compiled rules; ``classify`` is pure.

    Args:
        rules: in order; the first match decides.
        categories: every category there is.
        heuristics: whether ``HEURISTIC_RULES`` follow the rules.
        default: the category of what nothing matched.

    Raises:
        SettingsError: a pattern that does not compile, a rule that sets no condition, or a
            category that is not among ``categories``.
    """

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        *,
        categories: Iterable[str] = DEFAULT_CATEGORIES,
        heuristics: bool = True,
        default: str = "system",
    ) -> None:
        known = set(categories)
        faults: list[str] = []
        chain = list(rules)
        if heuristics:
            chain += [rule for rule in HEURISTIC_RULES if rule.category in known]
        self._rules: list[tuple[_TypeMatch, _Match | None, Classification]] = []
        for rule in chain:
            answer = Classification(rule.category, rule.topic or rule.category, rule.name)
            if rule.category not in known:
                faults.append(f"rule {rule.name}: category {rule.category} is not in categories")
            try:
                self._rules.append((*_compile(rule), answer))
            except (re.error, ValueError) as error:
                faults.append(f"rule {rule.name}: {error}")
        if default not in known:
            faults.append(f"default: category {default} is not in categories")
        if faults:
            raise SettingsError([f"classification: {fault}" for fault in faults])
        self._default = Classification(default, default, DEFAULT_RULE)
        self._of_type = lru_cache(_TYPES)(self._look_at_type)

    def classify(self, type_: str, data: Any) -> Classification:
        """Category and topic of an event from its type and its content (a JSON value)."""
        open_, answer = self._of_type(type_)
        for matches, if_so in open_:
            if matches(data):
                return if_so
        return answer

    def _look_at_type(
        self, type_: str
    ) -> "tuple[list[tuple[_Match, Classification]], Classification]":
        """What a type leaves open: the rules that look into the content, and the answer if none
        of them matches.
        """
        open_: list[tuple[_Match, Classification]] = []
        for type_matches, matches, answer in self._rules:
            if type_matches(type_):
                if matches is None:
                    return open_, answer
                open_.append((matches, answer))
        return open_, self._default


_TypeMatch = Callable[[str], bool]
_Match = Callable[[Any], bool]


def _compile(rule: Rule) -> tuple[_TypeMatch, _Match | None]:
    """What a rule asks of the type, and what of the content, if it does."""
    if rule.type is None and rule.field is None and rule.equals is None and rule.pattern is None:
        raise ValueError("sets no condition; write type, field, equals or pattern")
    type_match = None if rule.type is None else re.compile(translate(rule.type)).match
    search = None if rule.pattern is None else re.compile(rule.pattern).search
    equals = rule.equals

    def holds(value: Any) -> bool:
        if equals is not None and not _same(value, equals):
            return False
        return search is None or search(_text(value)) is not None

    def fits(type_: str) -> bool:
        return type_match is None or type_match(type_) is not None

    if rule.field is None:
        return (lambda type_: fits(type_) and holds(type_)), None
    path = rule.field.split(".")

    def matches(data: Any) -> bool:
        value = _dig(data, path)
        return value is not _ABSENT and holds(value)

    return fits, matches


def _dig(value: Any, path: list[str]) -> Any:
    for name in path:
        if type(value) is dict or isinstance(value, Mapping):
            value = value.get(name, _ABSENT)
        elif isinstance(value, list | tuple) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return _ABSENT
    return value


def _same(value: Any, expected: str | float | bool) -> bool:
    # JSON's true is not 1, though Python's is.
    return isinstance(value, bool) is isinstance(expected, bool) and bool(value == expected)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)
