import pytest

from crossfade.local.supabase import rest_sql
from crossfade.local.supabase.gateway import Refusal
from crossfade.local.supabase.rest_syntax import Column, Filter, parse_query


def where(name: str, value: str) -> str:
    return rest_sql.conditions(parse_query([(name, value)]).where, "t").as_string()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("a", "eq.1'; drop table t; --", "\"t\".\"a\" = '1''; drop table t; --'"),
        ("a", "neq.x", '"t"."a" <> \'x\''),
        ("a", "not.gt.1", 'not ("t"."a" > \'1\')'),
        ("a", "like.*x*", '"t"."a" like \'%x%\''),
        ("a", "ilike.x%", '"t"."a" ilike \'x%\''),
        ("a", "imatch.^x", '"t"."a" ~* \'^x\''),
        ("a", "is.null", '"t"."a" is null'),
        ("a", "not.is.null", 'not ("t"."a" is null)'),
        ("a", "is.not_null", '"t"."a" is not null'),
        ("a", 'in.(x,"y,z","q\\"")', "\"t\".\"a\" in ('x', 'y,z', 'q\"')"),
        ("a", "in.()", '"t"."a" = any (\'{}\')'),
        ("a", "cs.{1,2}", '"t"."a" @> \'{1,2}\''),
        ("a", "ov.[1,3)", '"t"."a" && \'[1,3)\''),
        ("a", "like(any).{a*,b*}", '("t"."a" like \'a*\' or "t"."a" like \'b*\')'),
        ("a", "fts(english).cat", "\"t\".\"a\" @@ to_tsquery('english', 'cat')"),
        ("a", "plfts.cat", '"t"."a" @@ plainto_tsquery(\'cat\')'),
        ("a", "eq.", '"t"."a" = \'\''),
        ("a", 'eq."x"', '"t"."a" = \'"x"\''),
        ("a->b->>c", "eq.x", "(to_jsonb(\"t\".\"a\")->'b'->>'c') = 'x'"),
        ("or", "(a.eq.1,b.not.is.null)", '("t"."a" = \'1\' or not ("t"."b" is null))'),
        (
            "not.and",
            '(a.eq."x,y",or(b.lt.1,c.in.(1,2)))',
            'not ("t"."a" = \'x,y\' and ("t"."b" < \'1\' or "t"."c" in (\'1\', \'2\')))',
        ),
    ],
)
def test_filters(name: str, value: str, expected: str) -> None:
    if "like(any)" in value:
        expected = expected.replace("a*", "a%").replace("b*", "b%")
    assert where(name, value) == f" where {expected}"


def test_columns_casts_aliases_and_paths() -> None:
    query = parse_query([("select", "id,name:title,n::text,data->a->>b,data->0,*")])
    assert rest_sql.columns(query.select, "t").as_string() == (
        '"t"."id" as "id", "t"."title" as "name", ("t"."n")::text as "n", '
        '(to_jsonb("t"."data")->\'a\'->>\'b\') as "b", (to_jsonb("t"."data")->0) as "data", "t".*'
    )
    for everything in ("*", ""):
        assert parse_query([("select", everything)]).select is None


def test_order() -> None:
    query = parse_query([("order", "a.desc.nullslast,b,c->>d.asc")])
    assert rest_sql.ordering(query.order, "t").as_string() == (
        ' order by "t"."a" desc nulls last, "t"."b" asc, (to_jsonb("t"."c")->>\'d\') asc'
    )


def test_a_quoted_name_may_hold_anything() -> None:
    (found,) = parse_query([('"a.b"', "eq.1")]).where
    assert found == Filter(Column("a.b"), "=", "1")


@pytest.mark.parametrize(
    "pair",
    [
        ("select", "a,b(*)"),
        ("select", "x:b!inner(id)"),
        ("select", "...b(id)"),
        ("other.id", "eq.1"),
    ],
)
def test_what_the_real_one_knows_more_is_501(pair: tuple[str, str]) -> None:
    with pytest.raises(Refusal) as raised:
        parse_query([pair])
    assert raised.value.status == 501


@pytest.mark.parametrize(
    "pair",
    [
        ("limit", "x"),
        ("offset", "-1"),
        ("a", "1"),
        ("a", "nope.1"),
        ("a", "in.x"),
        ("a", "is.sometimes"),
        ("a", "eq(some).{1}"),
        ("a", "neq(any).{1}"),
        ("or", "a.eq.1"),
        ("or", "(a)"),
        ("or", "(a.eq.1"),
        ("order", "a.sideways"),
        ("select", "a::int;drop"),
        ("select", "a->"),
    ],
)
def test_nonsense_is_400(pair: tuple[str, str]) -> None:
    with pytest.raises(Refusal) as raised:
        parse_query([pair])
    assert (raised.value.status, raised.value.body["code"]) == (400, "PGRST100")


@pytest.mark.parametrize("text", ["count()", "amount.sum()", "a,total:b.avg()::int"])
def test_aggregates_are_switched_off(text: str) -> None:
    with pytest.raises(Refusal) as raised:
        parse_query([("select", text)])
    assert (raised.value.status, raised.value.body["code"]) == (400, "PGRST123")
