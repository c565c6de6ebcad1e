"""Statements from what a query string asks: columns, conditions, order. Pure.

Every name becomes a quoted identifier and every value a literal of unknown type, which takes
the column's.
"""

from collections.abc import Sequence

from psycopg import sql

from crossfade.local.supabase.rest_syntax import Column, Filter, Group, Item, Node, Order

__all__ = ["as_json", "columns", "conditions", "ordering", "page"]


def columns(items: Sequence[Item] | None, source: str) -> sql.Composable:
    """The select list over the row source of this name."""
    if items is None:
        return sql.SQL("{}.*").format(sql.Identifier(source))
    return sql.SQL(", ").join(_item(item, source) for item in items)


def conditions(nodes: Sequence[Node], source: str) -> sql.Composable:
    """`` where …``, or nothing."""
    if not nodes:
        return sql.SQL("")
    return sql.SQL(" where ") + sql.SQL(" and ").join(_node(node, source) for node in nodes)


def ordering(terms: Sequence[Order], source: str) -> sql.Composable:
    """`` order by …``, or nothing."""
    if not terms:
        return sql.SQL("")
    parts = []
    for term in terms:
        part = _column(term.column, source) + sql.SQL(" desc" if term.descending else " asc")
        if term.nulls == "first":
            part = part + sql.SQL(" nulls first")
        elif term.nulls == "last":
            part = part + sql.SQL(" nulls last")
        parts.append(part)
    return sql.SQL(" order by ") + sql.SQL(", ").join(parts)


def page(limit: int, offset: int) -> sql.Composable:
    return sql.SQL(" limit {} offset {}").format(sql.Literal(limit), sql.Literal(offset))


def as_json(rows: sql.Composable) -> sql.Composable:
    """The rows of a query as one JSON array and their number."""
    return sql.SQL("coalesce(json_agg(r), '[]')::text, count(*) from ({}) r").format(rows)


def _item(item: Item, source: str) -> sql.Composable:
    if item.column.name == "*" and not item.column.path:
        return sql.SQL("{}.*").format(sql.Identifier(source))
    value = _column(item.column, source)
    if item.type is not None:
        # Checked by the parser: a type's name and nothing else.
        value = sql.SQL("({})::").format(value) + sql.SQL(item.type)
    path = item.column.path
    name = item.alias or next((one for one in path[::-1] if not one.lstrip("-").isdigit()), None)
    return sql.SQL("{} as {}").format(value, sql.Identifier(name or item.column.name))


def _column(column: Column, source: str) -> sql.Composable:
    value: sql.Composable = sql.Identifier(source, column.name)
    if not column.path:
        return value
    value = sql.SQL("to_jsonb({})").format(value)
    for place, key in enumerate(column.path):
        last = place == len(column.path) - 1
        arrow = sql.SQL("->>" if last and column.as_text else "->")
        step = sql.Literal(int(key) if key.lstrip("-").isdigit() else key)
        value = sql.SQL("{}{}{}").format(value, arrow, step)
    return sql.SQL("({})").format(value)


def _node(node: Node, source: str) -> sql.Composable:
    if isinstance(node, Group):
        word = sql.SQL(" or " if node.word == "or" else " and ")
        inner = word.join(_node(one, source) for one in node.nodes)
        return sql.SQL("not ({})" if node.negated else "({})").format(inner)
    test = _test(node, _column(node.column, source))
    return sql.SQL("not ({})").format(test) if node.negated else test


def _test(node: Filter, column: sql.Composable) -> sql.Composable:
    if node.operator == "in":
        if not node.items:
            return sql.SQL("{} = any ('{{}}')").format(column)
        items = sql.SQL(", ").join(map(sql.Literal, node.items))
        return sql.SQL("{} in ({})").format(column, items)
    if node.operator == "is":
        # One of a few words.
        return sql.SQL("{} is ").format(column) + sql.SQL(node.operand)
    operator = sql.SQL(node.operator)
    if node.search is not None:
        function, _, language = node.search.partition("|")
        arguments = [sql.Literal(language), sql.Literal(node.operand)][0 if language else 1 :]
        query = sql.SQL(", ").join(arguments)
        return sql.SQL("{} @@ {}({})").format(column, sql.SQL(function), query)
    if node.items is not None:
        tests = [
            sql.SQL("{} {} {}").format(column, operator, sql.Literal(item)) for item in node.items
        ]
        word = sql.SQL(" or " if node.quantifier == "any" else " and ")
        return sql.SQL("({})").format(word.join(tests))
    return sql.SQL("{} {} {}").format(column, operator, sql.Literal(node.operand))
