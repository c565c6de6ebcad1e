"""PostgREST's query strings as values: columns, filters, order. Pure.

The grammar is the one of PostgREST's reference ("Tables and Views"). What that knows and this
does not is refused with 501, nonsense with 400: a filter is never left out.
"""

import re
from dataclasses import dataclass, field

from crossfade.local.supabase.gateway import Refusal
from crossfade.local.supabase.rest_errors import pgrst

__all__ = [
    "Column",
    "Filter",
    "Group",
    "Item",
    "Node",
    "Order",
    "Query",
    "not_built",
    "parse_query",
]

_COMPARE = {
    "eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=",
    "like": "like", "ilike": "ilike", "match": "~", "imatch": "~*",
    "isdistinct": "is distinct from", "cs": "@>", "cd": "<@", "ov": "&&",
    "sl": "<<", "sr": ">>", "nxr": "&<", "nxl": "&>", "adj": "-|-",
}  # fmt: skip
_QUANTIFIED = ("eq", "gt", "gte", "lt", "lte", "like", "ilike", "match", "imatch")
_SEARCH = {
    "fts": "to_tsquery", "plfts": "plainto_tsquery", "phfts": "phraseto_tsquery",
    "wfts": "websearch_to_tsquery",
}  # fmt: skip
_IS = {
    "null": "null", "not_null": "not null", "true": "true", "false": "false", "unknown": "unknown"
}  # fmt: skip
_OPERATOR = re.compile(r"(not\.)?([a-z]+)(?:\((\w+)\))?\.(.*)", re.DOTALL)
_TYPE = re.compile(r"[A-Za-z_][\w ]*(\(\d+(,\s*\d+)?\))?(\[\])?")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_AGGREGATE = re.compile(r"(^|\.)(count|sum|avg|min|max)\(\)")


@dataclass(frozen=True, slots=True)
class Column:
    """A column, or a path into the JSON that it holds; ``as_text`` for a last ``->>``."""

    name: str
    path: tuple[str, ...] = ()
    as_text: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of ``select``."""

    column: Column
    alias: str | None
    type: str | None


@dataclass(frozen=True, slots=True)
class Filter:
    """``column`` ``operator`` ``operand``, as SQL's operator; ``items`` for ``in`` and any/all."""

    column: Column
    operator: str
    operand: str
    items: tuple[str, ...] | None = None
    quantifier: str | None = None
    search: str | None = None
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Filters joined by ``and`` or ``or``."""

    word: str
    nodes: tuple["Node", ...]
    negated: bool


Node = Filter | Group


@dataclass(frozen=True, slots=True)
class Order:
    """One entry of ``order``."""

    column: Column
    descending: bool
    nulls: str | None


@dataclass(slots=True)
class Query:
    """Everything that a query string asks."""

    select: list[Item] | None = None  # None: all columns
    where: list[Node] = field(default_factory=list)
    order: list[Order] = field(default_factory=list)
    limit: int | None = None
    offset: int = 0
    columns: list[str] | None = None
    on_conflict: list[str] = field(default_factory=list)


def not_built(what: str) -> Refusal:
    """501 for what the real PostgREST knows more."""
    return Refusal(501, {"message": f"{what}: not built in this stand-in for PostgREST"})


def parse_query(pairs: list[tuple[str, str]]) -> Query:
    """Read a query string.

    Raises:
        Refusal: 501 for what is not built, 400 (PGRST100) for what PostgREST does not know.
    """
    query = Query()
    for name, value in pairs:
        if name == "apikey":
            continue
        if name == "select":
            query.select = _select(value)
        elif name == "order":
            query.order = [_order(term) for term in split(value)] if value else []
        elif name == "limit":
            query.limit = _number(name, value)
        elif name == "offset":
            query.offset = _number(name, value)
        elif name == "columns":
            query.columns = [_unquoted(column) for column in split(value)]
        elif name == "on_conflict":
            query.on_conflict = [_unquoted(column) for column in split(value)]
        elif name in ("and", "or", "not.and", "not.or"):
            query.where.append(_group(name, value))
        else:
            query.where.append(_filter(name, value))
    return query


def split(text: str) -> list[str]:
    """At commas outside of parentheses, braces and quotes."""
    parts, depth, quoted, escaped, start = [], 0, False, False, 0
    for at, char in enumerate(text):
        if escaped:
            escaped = False
        elif char == "\\" and quoted:
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif char in "({[":
            depth += 1
        elif char in ")}]":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    if quoted or depth:
        raise pgrst(400, "PGRST100", f'"failed to parse ({text})"', details="unbalanced")
    return [*parts, text[start:]]


def _unquoted(text: str) -> str:
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        return _ESCAPED.sub(r"\1", text[1:-1])
    return text


def _column(text: str) -> Column:
    parts = re.split(r"(->>|->)", text.strip())
    name, arrows, keys = _unquoted(parts[0]), parts[1::2], parts[2::2]
    if not name or any(not key for key in keys) or "->>" in arrows[:-1]:
        raise pgrst(400, "PGRST100", f'"failed to parse column ({text})"')
    if "(" in name and not parts[0].strip().startswith('"'):
        raise not_built(text)
    path = tuple(_unquoted(key) for key in keys)
    return Column(name, path, bool(arrows) and arrows[-1] == "->>")


def _select(text: str) -> list[Item] | None:
    items = [item.strip() for item in split(text)]
    if items in (["*"], [""]):
        return None
    found = []
    for item in items:
        if _AGGREGATE.search(item):  # a hosted project has them switched off
            raise pgrst(400, "PGRST123", "Use of aggregate functions is not allowed")
        embeds = item.endswith(")") and "::" not in item
        if embeds or "..." in item:
            raise not_built(f"select={item}")
        rest, _, kind = item.partition("::")
        alias, colon, column = rest.rpartition(":") if '"' not in rest else ("", "", rest)
        if kind and not _TYPE.fullmatch(kind):
            raise pgrst(400, "PGRST100", f'"failed to parse select parameter ({text})"')
        name = alias.strip() if colon else None
        found.append(Item(_column(column if colon else rest), name, kind or None))
    return found


def _order(text: str) -> Order:
    parts = text.strip().split(".")
    ways: list[str] = []
    while len(parts) > 1 and parts[-1] in ("asc", "desc", "nullsfirst", "nullslast"):
        ways.insert(0, parts.pop())
    if len(parts) > 1 and '"' not in text:
        raise pgrst(400, "PGRST100", f'"failed to parse order ({text})"')
    nulls = next((way[5:] for way in ways if way.startswith("nulls")), None)
    return Order(_column(".".join(parts)), "desc" in ways, nulls)


def _group(name: str, value: str) -> Group:
    if not (value.startswith("(") and value.endswith(")")):
        raise pgrst(400, "PGRST100", f'"failed to parse logic tree ({name}={value})"')
    nodes = tuple(_branch(part.strip()) for part in split(value[1:-1]))
    return Group(name.removeprefix("not."), nodes, name.startswith("not."))


def _branch(text: str) -> Node:
    match = re.match(r"((?:not\.)?(?:and|or))(\(.*\))$", text, re.DOTALL)
    if match:
        return _group(match[1], match[2])
    if text.startswith('"'):
        end = text.index('"', 1) + 1
        dot = text.find(".", end)
    else:
        dot = text.find(".")
    if dot < 0:
        raise pgrst(400, "PGRST100", f'"failed to parse logic tree ({text})"')
    return _filter(text[:dot], text[dot + 1 :], in_tree=True)


def _filter(name: str, value: str, *, in_tree: bool = False) -> Filter:
    match = _OPERATOR.fullmatch(value)
    if match is None:
        raise _unparsable(value)
    negated, operator, option, operand = bool(match[1]), match[2], match[3], match[4]
    if "." in name and "->" not in name and not name.startswith('"'):
        raise not_built(f"{name}={value}")  # a filter on an embedded table
    column = _column(name)
    if operator == "in":
        if not (operand.startswith("(") and operand.endswith(")")):
            raise _unparsable(value)
        inner = operand[1:-1]
        items = tuple(_unquoted(item) for item in split(inner)) if inner else ()
        return Filter(column, "in", "", items, negated=negated)
    if operator == "is":
        if operand.lower() not in _IS:
            raise _unparsable(value)
        return Filter(column, "is", _IS[operand.lower()], negated=negated)
    if operator in _SEARCH:
        search = f"{_SEARCH[operator]}|{option or ''}"
        return Filter(column, "@@", _unquoted(operand), search=search, negated=negated)
    if operator not in _COMPARE:
        raise _unparsable(value)
    if operator in ("like", "ilike"):
        operand = operand.replace("*", "%")
    if option is not None:
        if option not in ("any", "all") or operator not in _QUANTIFIED:
            raise _unparsable(value)
        if not (operand.startswith("{") and operand.endswith("}")):
            raise _unparsable(value)
        items = tuple(_unquoted(item) for item in split(operand[1:-1]))
        return Filter(column, _COMPARE[operator], "", items, option, negated=negated)
    operand = _unquoted(operand) if in_tree else operand
    return Filter(column, _COMPARE[operator], operand, negated=negated)


def _unparsable(value: str) -> Refusal:
    return pgrst(
        400,
        "PGRST100",
        f'"failed to parse filter ({value})" (line 1, column 1)',
        details="an operator of PostgREST is expected: eq, gt, in, is, not, …",
    )


def _number(name: str, text: str) -> int:
    if not text.isdigit():
        raise pgrst(400, "PGRST100", f"{name} must be a number, is {text!r}")
    return int(text)
