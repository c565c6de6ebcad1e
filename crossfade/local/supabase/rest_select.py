"""PostgREST's query string of a simple select, as SQL."""

from psycopg import sql

from crossfade.local.supabase.gateway import Refusal
from crossfade.local.supabase.rest_errors import pgrst

__all__ = ["build_select"]

_OPERATORS = {"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_NOT_FILTERS = {"select", "order", "limit", "offset", "apikey"}


def build_select(
    table: str, query: list[tuple[str, str]], max_rows: int
) -> tuple[sql.Composed, int]:
    """One statement that answers the rows as a JSON array and their number; and the offset.

    Known: ``select`` of plain columns, filters ``eq neq gt gte lt lte in is``, ``order``,
    ``limit``, ``offset``.

    Raises:
        Refusal: 501 for what the real PostgREST knows and this does not, 400 for nonsense.
    """
    options = dict(query)
    limit = min(_number("limit", options.get("limit", str(max_rows))), max_rows)
    offset = _number("offset", options.get("offset", "0"))
    filters = [_filter(name, value) for name, value in query if name not in _NOT_FILTERS]
    inner = sql.SQL(
        "select {columns} from public.{table}{where}{order} limit {n} offset {o}"
    ).format(
        columns=_columns(options.get("select", "*")),
        table=sql.Identifier(table),
        where=sql.SQL(" where ") + sql.SQL(" and ").join(filters) if filters else sql.SQL(""),
        order=_order(options.get("order", "")),
        n=sql.Literal(limit),
        o=sql.Literal(offset),
    )
    return (
        sql.SQL("select coalesce(json_agg(r), '[]')::text, count(*) from ({}) r").format(inner),
        offset,
    )


def _columns(text: str) -> sql.Composable:
    names = [name.strip().strip('"') for name in text.split(",")]
    if names == ["*"] or not text:
        return sql.SQL("*")
    if any(not name or not name.replace("_", "a").isalnum() for name in names):
        raise _unknown(f"select={text}")
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _order(text: str) -> sql.Composable:
    if not text:
        return sql.SQL("")
    terms: list[sql.Composable] = []
    for term in text.split(","):
        name, *ways = term.split(".")
        if any(way not in ("asc", "desc", "nullsfirst", "nullslast") for way in ways):
            raise _unknown(f"order={text}")
        word = " desc" if "desc" in ways else " asc"
        nulls = next((f" nulls {way[5:]}" for way in ways if way.startswith("nulls")), "")
        terms.append(sql.Identifier(name) + sql.SQL(word + nulls))
    return sql.SQL(" order by ") + sql.SQL(", ").join(terms)


def _filter(name: str, value: str) -> sql.Composable:
    operator, _, operand = value.partition(".")
    if operator in _OPERATORS:
        # The text becomes a literal of unknown type, which takes the column's.
        return sql.SQL("{} {} {}").format(
            sql.Identifier(name),
            sql.SQL(_OPERATORS[operator]),
            sql.Literal(operand),
        )
    if operator == "in" and operand.startswith("(") and operand.endswith(")"):
        items = [item.strip().strip('"') for item in operand[1:-1].split(",")]
        return sql.SQL("{} in ({})").format(
            sql.Identifier(name), sql.SQL(", ").join(map(sql.Literal, items))
        )
    if operator == "is" and operand in ("null", "true", "false"):
        return sql.SQL("{} is " + operand).format(sql.Identifier(name))
    raise _unknown(f"{name}={value}")


def _number(name: str, text: str) -> int:
    if not text.isdigit():
        raise pgrst(400, "PGRST100", f"{name} must be a number, is {text!r}")
    return int(text)


def _unknown(what: str) -> Refusal:
    return Refusal(
        501, {"message": f"{what}: this stand-in for PostgREST knows simple selects only"}
    )
