"""Who may call what, and the links that sign a page in."""

from contextlib import nullcontext

import pytest
from pydantic import SecretStr

from crossfade.control.auth import (
    MAX_LINK_S,
    Access,
    Denied,
    authorise,
    check_verb,
    page_link,
    page_token,
)
from crossfade.errors import UsageError
from crossfade.settings import ControlSettings
from tests.unit.control.conftest import INSTANCE, OPERATOR

APPROVER = "approver-token"
NOW_S = 1_800_000_000.0
CONTROL = ControlSettings.model_validate(
    {
        "url": "http://127.0.0.1:8780",
        "operator_token": OPERATOR,
        "approver_token": APPROVER,
        "instance_token": INSTANCE,
    }
)


def refusal(token: str, needed: Access, now_s: float = NOW_S) -> int:
    """The status with which the token is refused; 0 when it is not."""
    try:
        authorise(CONTROL, f"Bearer {token}", needed, now_s)
    except Denied as error:
        return error.status if token not in str(error) else -1
    return 0


@pytest.mark.parametrize(
    ("token", "operate", "decide", "look", "take_part"),
    [
        (OPERATOR, 0, 0, 0, 0),
        (APPROVER, 403, 0, 0, 0),
        (INSTANCE, 403, 403, 403, 0),
        (page_token(CONTROL, 60.0, NOW_S), 403, 403, 0, 0),
        ("somebody", 401, 401, 401, 401),
    ],
)
def test_what_each_token_may_do(
    token: str, operate: int, decide: int, look: int, take_part: int
) -> None:
    assert [refusal(token, needed) for needed in Access] == [operate, decide, look, take_part]


@pytest.mark.parametrize(
    ("who", "verb", "differs", "allowed"),
    [
        ("approver", "approve", True, True),
        ("approver", "resume", False, True),
        ("approver", "rollback", False, False),
        ("approver", None, False, False),
        ("operator", "approve", False, True),
        ("operator", "approve", True, False),
        # Stopping is never forbidden to whoever operates.
        ("operator", "reject", True, True),
        ("operator", "rollback", True, True),
    ],
)
def test_who_may_give_which_command(
    who: str, verb: str | None, differs: bool, allowed: bool
) -> None:
    with nullcontext() if allowed else pytest.raises(Denied, match="token"):
        check_verb(CONTROL, who, verb, differs)


def test_without_an_approver_s_token_the_operator_s_approves() -> None:
    alone = CONTROL.model_copy(update={"approver_token": SecretStr("")})
    check_verb(alone, "operator", "approve", True)


def test_a_link_ends_by_itself_and_with_the_operators_token() -> None:
    token = page_token(CONTROL, 60.0, NOW_S)
    assert refusal(token, Access.LOOK, NOW_S + 59.0) == 0
    assert refusal(token, Access.LOOK, NOW_S + 60.0) == 401
    changed = CONTROL.model_copy(update={"operator_token": CONTROL.instance_token})
    with pytest.raises(Denied, match="has ended"):
        authorise(changed, f"Bearer {token}", Access.LOOK, NOW_S)


def test_a_link_is_not_prolonged_by_its_holder() -> None:
    prefix, ends, seal = page_token(CONTROL, 60.0, NOW_S).split(".")
    for forged in (
        f"{prefix}.{int(ends) + 1}.{seal}",
        f"{prefix}.{ends}.{seal[:-1]}",
        f"{prefix}.{ends}.",
        f"{prefix}.{ends}",
        f"{prefix}.{'9' * 400}.{seal}",
        f"{prefix}.²³.{seal}",
        f"{prefix}.-1.{seal}",
        f"other.{ends}.{seal}",
        "page.",
    ):
        assert refusal(forged, Access.LOOK) == 401, forged


def test_without_an_operators_token_there_is_no_link() -> None:
    nobody = ControlSettings()
    with pytest.raises(UsageError, match="operator_token"):
        page_token(nobody, 60.0, NOW_S)
    for empty in ("Bearer ", "Bearer page.1900000000.", "Bearer"):
        with pytest.raises(Denied):
            authorise(nobody, empty, Access.TAKE_PART, NOW_S)


@pytest.mark.parametrize("lifetime_s", [0.0, -1.0, MAX_LINK_S + 1])
def test_a_link_has_a_bounded_life(lifetime_s: float) -> None:
    with pytest.raises(UsageError, match="lives"):
        page_token(CONTROL, lifetime_s, NOW_S)


def test_the_token_stands_where_no_browser_sends_it() -> None:
    link = page_link(CONTROL, "/departures", 60.0, NOW_S)
    address, fragment = link.split("#")
    assert address == "http://127.0.0.1:8780/departures"
    assert fragment == f"token={page_token(CONTROL, 60.0, NOW_S)}"
