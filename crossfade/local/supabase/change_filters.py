"""What a channel asks of ``postgres_changes``, as values. Pure.

The grammar and the words of its errors are those of the real server (``filter`` is
``column=operator.value``, several are joined by commas, ``not.`` negates).
"""

import re
import zlib
from dataclasses import dataclass
from typing import Any

from psycopg import sql

__all__ = ["ChangesError", "Filter", "Subscription", "parse_subscription"]

_OPERATORS = {
    "eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">=",
    "like": "like", "ilike": "ilike", "match": "~", "imatch": "~*",
    "isdistinct": "is distinct from",
}  # fmt: skip
_IS = {"null", "true", "false", "unknown"}
_QUOTED = re.compile(r"\\(.)", re.DOTALL)


class ChangesError(Exception):
    """A subscription that is refused; the message is for the channel."""


@dataclass(frozen=True, slots=True)
class Filter:
    """``column`` ``operator`` ``value``."""

    column: str
    operator: str
    value: str
    negated: bool

    def logged(self) -> str:
        """As the real server prints it."""
        flag = "true" if self.negated else "false"
        quoted = ", ".join(f'"{part}"' for part in (self.column, self.operator, self.value))
        return f"{{{quoted}, {flag}}}"

    def condition(self, row: str) -> sql.Composable:
        """As SQL on the row of that name; null is no match."""
        column = sql.SQL("{}.{}").format(sql.Identifier(row), sql.Identifier(self.column))
        if self.operator == "in":
            items = sql.SQL(", ").join(map(sql.Literal, _items(self.value)))
            test: sql.Composable = sql.SQL("{} in ({})").format(column, items)
        elif self.operator == "is":
            test = sql.SQL("{} is " + self.value.lower()).format(column)
        else:
            test = sql.SQL("{} " + _OPERATORS[self.operator] + " {}").format(
                column, sql.Literal(self.value)
            )
        return sql.SQL("not ({})" if self.negated else "({})").format(test)


@dataclass(frozen=True, slots=True)
class Subscription:
    """One entry of ``config.postgres_changes``."""

    number: int
    event: str
    schema: str
    table: str
    filters: tuple[Filter, ...]
    select: tuple[str, ...] | None

    def logged(self) -> str:
        """As the real server prints it in its errors."""
        filters = ", ".join(one.logged() for one in self.filters)
        chosen = "nil" if self.select is None else "[" + ", ".join(map(repr, self.select)) + "]"
        return (
            f"[event: {self.event}, schema: {self.schema}, table: {self.table}, "
            f"filters: [{filters}], select: {chosen}]"
        )

    def covers(self, event: str, schema: str, table: str) -> bool:
        """Whether a change of this kind may be meant; filters aside."""
        return (
            self.event in ("*", event)
            and self.schema in ("*", schema)
            and self.table in ("*", table)
        )


def number_of(params: Any) -> int:
    """The number that the join's reply gives to an entry: the same for the same entry."""
    return zlib.crc32(repr(sorted(params.items(), key=repr)).encode()) % 2**27


def parse_subscription(params: dict[str, Any]) -> Subscription:
    """One entry of a join's configuration.

    Raises:
        ChangesError: with the real server's sentence.
    """
    event = str(params.get("event", "*")).upper()
    if event not in ("INSERT", "UPDATE", "DELETE"):
        event = "*"
    schema, table = params.get("schema"), params.get("table")
    known = all(value is None or isinstance(value, str) for value in (schema, table))
    text = params.get("filter", "")
    if not known or (schema is None and table is None) or not isinstance(text, str):
        raise ChangesError(
            "No subscription params provided. Please provide at least a `schema` or `table` to "
            f"subscribe to: {params}"
        )
    select = params.get("select")
    if isinstance(select, str):
        raise ChangesError(
            "Error parsing `select` params: expected a list of column name strings, e.g. "
            'select: ["col1", "col2"]'
        )
    columns = [one for one in select if isinstance(one, str)] if isinstance(select, list) else []
    if columns and "*" in (schema or "public", table or "*"):
        raise ChangesError(
            "Column selection is not supported for wildcard subscriptions. Provide an explicit "
            "schema and table name."
        )
    return Subscription(
        number_of(params),
        event,
        schema or "public",
        table or "*",
        tuple(_filter(one) for one in _split(text)) if text.strip() else (),
        tuple(columns) or None,
    )


def _filter(text: str) -> Filter:
    column, equals, rest = text.partition("=")
    if not equals:
        raise ChangesError(f'Error parsing `filter` params: ["{text}"]')
    negated = rest.startswith("not.")
    operator, dot, value = rest.removeprefix("not.").partition(".")
    known = operator in _OPERATORS or operator in ("in", "is")
    wrong = (operator == "in" and not (value.startswith("(") and value.endswith(")"))) or (
        operator == "is" and value.lower() not in _IS
    )
    if not dot or not known or wrong:
        raise ChangesError(f'Error parsing `filter` params: ["{operator}", "{value}"]')
    if operator == "in":
        value = "{" + value[1:-1] + "}"
    return Filter(column.strip(), operator, value, negated)


def _items(braces: str) -> list[str]:
    return [
        _QUOTED.sub(r"\1", item[1:-1]) if item[:1] == item[-1:] == '"' and len(item) > 1 else item
        for item in _split(braces[1:-1])
    ]


def _split(text: str) -> list[str]:
    """At commas outside of parentheses and quotes."""
    parts, depth, quoted, start = [], 0, False, 0
    escaped = False
    for at, char in enumerate(text):
        if quoted:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                quoted = False
        elif char == '"' and (at == start or text[at - 1] in ".(,"):
            quoted = True
        elif char == "(":
            depth += 1
        elif char == ")":
            depth = max(0, depth - 1)
        elif char == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    parts.append(text[start:])
    return [part.strip() for part in parts]
