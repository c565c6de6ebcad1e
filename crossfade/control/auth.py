"""Who may call what: operator, approver, an instance, and whoever holds a link to the pages.

A link's token is made without asking the server: the time at which it ends, and an HMAC of it
whose key comes from the operator's token. So it needs no table, ends by itself, and ends
for all when the operator's token is changed. Whoever holds it may look and do nothing.

An approval's code is made likewise from the approver's token, for one answer on one evidence:
what a person types into Prefect's form, which Prefect keeps where everybody with its login may
read it.
"""

import hashlib
import hmac
from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple

from crossfade.core.rollout.commands import DECISIONS
from crossfade.errors import UsageError
from crossfade.settings import ControlSettings

__all__ = [
    "MAX_LINK_S",
    "Access",
    "Approval",
    "Denied",
    "approval_code",
    "authorise",
    "check_verb",
    "is_approval_code",
    "page_link",
    "page_token",
]

MAX_LINK_S = 7 * 86_400.0
"""Longest life of a link."""

_PREFIX = "page"
_PURPOSE = b"crossfade: a token of a link to the pages, which may only look"
_APPROVAL = b"crossfade: a code that approves one evidence"
_CODE_DIGITS = 20


class Access(Enum):
    """What a call needs: the operator; somebody who may decide, or look; anybody with a token."""

    OPERATE = "operate"
    DECIDE = "decide"
    LOOK = "look"
    TAKE_PART = "take part"


_REFUSALS = {
    "approver": f"the approver's token may only look and give {', '.join(DECISIONS)}",
    "instance": "this token may only read flags and send telemetry",
    "page": "a link's token may only look: this needs the operator's token",
}


class Denied(Exception):
    """401 or 403 (``status``), with the reason for people."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(reason)


def authorise(control: ControlSettings, header: str, needed: Access, now_s: float) -> str:
    """Who calls, by the ``Authorization`` header: operator, approver, page or instance.

    Raises:
        Denied: 401, there is no token or nobody's; 403, it may not do what is ``needed``.
    """
    scheme, _, offered = header.partition(" ")
    if scheme.lower() != "bearer" or not offered:
        raise Denied(401, "a bearer token is needed")
    given = offered.strip()
    # All are compared, each in constant time: how long it takes tells nothing.
    known = {
        "operator": _equal(given, control.operator_token.get_secret_value()),
        "approver": _equal(given, control.approver_token.get_secret_value()),
        "instance": _equal(given, control.instance_token.get_secret_value()),
        "page": _is_page_token(control.operator_token.get_secret_value(), given, now_s),
    }
    who = next((name for name, matches in known.items() if matches), None)
    if who is None:
        ended = given.startswith(f"{_PREFIX}.")
        raise Denied(401, "this link has ended" if ended else "the token is not known")
    if who not in _ALLOWED[needed]:
        raise Denied(403, _REFUSALS[who])
    return who


_ALLOWED = {
    Access.OPERATE: {"operator"},
    Access.DECIDE: {"operator", "approver"},
    Access.LOOK: {"operator", "approver", "page"},
    Access.TAKE_PART: {"operator", "approver", "page", "instance"},
}


def check_verb(
    control: ControlSettings,
    who: str,
    verb: object,
    approver_differs: bool,
    *,
    proved: bool = False,
) -> None:
    """Whether ``who`` (see ``authorise``) may give this command.

    An approver only decides. Where there is an approver's token and the plan says that the
    approver differs, the operator's does not approve, unless an approver's code came with it.

    Args:
        proved: the command holds the ``approval_code`` of what it approves.

    Raises:
        Denied: 403.
    """
    if who == "approver" and verb not in DECISIONS:
        raise Denied(403, _REFUSALS[who])
    separate = approver_differs and bool(control.approver_token.get_secret_value())
    if who == "operator" and verb == "approve" and separate and not proved:
        raise Denied(
            403,
            "by its plan somebody else approves: this needs the approver's token, or the code "
            "that `crossfade approve --code` prints with it for this evidence, name and number "
            "of tickets",
        )


class Approval(NamedTuple):
    """What an ``approval_code`` says: this evidence passes, with these tickets, by this name.

    The name comes last, because it alone may hold a stroke, which parts the fields in the code.
    """

    rollout: str
    stage: int
    attempt: int
    evidence_hash: str
    tickets: int
    approver: str

    @classmethod
    def of(cls, rollout: str, command: Mapping[str, Any]) -> "Approval":
        """What a command *approve* asks for, of whatever types its fields came."""
        fields = (command.get(name, default) for name, default in _GIVEN.items())
        return cls(rollout, *fields)


_GIVEN = {"stage": None, "attempt": None, "evidence_hash": None, "tickets": 0, "approver": None}


def approval_code(control: ControlSettings, approval: Approval) -> str:
    """What proves that the approver gives this approval, and nothing else ever.

    Raises:
        UsageError: there is no approver's token.
    """
    secret = control.approver_token.get_secret_value()
    if not secret:
        raise UsageError("control.approver_token: a code is made with it")
    key = hmac.digest(secret.encode(), _APPROVAL, hashlib.sha256)
    text = "/".join(map(str, approval))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:_CODE_DIGITS]


def is_approval_code(given: str, control: ControlSettings, approval: Approval) -> bool:
    """Whether it is the code of this approval; without an approver's token nothing is."""
    if not control.approver_token.get_secret_value():
        return False
    return _equal(given.strip(), approval_code(control, approval))


def page_token(control: ControlSettings, lifetime_s: float, now_s: float) -> str:
    """A token that may look until ``now_s`` + ``lifetime_s`` (seconds since 1970).

    Raises:
        UsageError: there is no operator's token, or the lifetime is not between 0 and
            ``MAX_LINK_S``.
    """
    secret = control.operator_token.get_secret_value()
    if not secret:
        raise UsageError("control.operator_token: a link to the pages needs it")
    if not 0 < lifetime_s <= MAX_LINK_S:
        raise UsageError(f"a link lives more than 0 and at most {MAX_LINK_S / 3_600:g} hours")
    ends_s = int(now_s + lifetime_s)
    return f"{_PREFIX}.{ends_s}.{_seal(secret, ends_s)}"


def page_link(control: ControlSettings, path: str, lifetime_s: float, now_s: float) -> str:
    """The address of a page (``dashboard.PAGES``) that signs in whoever opens it.

    The token stands in the fragment, which no browser sends to any server; the page takes it
    out of its address at once.

    Raises:
        UsageError: see ``page_token``.
    """
    return f"{control.url}{path}#token={page_token(control, lifetime_s, now_s)}"


def _is_page_token(secret: str, given: str, now_s: float) -> bool:
    prefix, _, rest = given.partition(".")
    ends, _, seal = rest.partition(".")
    if not secret or prefix != _PREFIX or not (ends.isascii() and ends.isdecimal()):
        return False
    if len(ends) > 12:
        return False
    sealed = _equal(seal, _seal(secret, int(ends)))
    return sealed and now_s < int(ends)


def _seal(secret: str, ends_s: int) -> str:
    key = hmac.digest(secret.encode(), _PURPOSE, hashlib.sha256)
    return hmac.new(key, str(ends_s).encode(), hashlib.sha256).hexdigest()


def _equal(given: str, secret: str) -> bool:
    """In constant time; an empty secret equals nothing."""
    return hmac.compare_digest(given.encode(), secret.encode()) and bool(secret)
