"""What a Supabase key or token says of itself, and how it is sent.

Two kinds are in use: JSON Web Tokens (the older keys of a project, and every user's access token)
and opaque keys (``sb_publishable_…`` and ``sb_secret_…``), which are no tokens: they go into the
``apikey`` header and never into ``Authorization``.
"""

import base64
import binascii
from typing import NamedTuple

import orjson

__all__ = ["KeyFacts", "api_headers", "is_opaque", "read_key", "renewal_in_s"]

_OPAQUE = {"sb_publishable_": "anon", "sb_secret_": "service_role"}
RENEW_SHARE = 0.2
"""Share of a token's remaining life that is left when it is renewed …"""
RENEW_MOST_S = 60.0
"""… but no more than this: Supabase's access tokens live for an hour."""


class KeyFacts(NamedTuple):
    """What a key says; nothing of it is verified here.

    ``kind`` is ``jwt``, ``opaque`` or ``unknown``; ``role`` the database role it stands for
    (None: it does not say); ``expires_s`` seconds since 1970 (None: never, or it does not say).
    """

    kind: str
    role: str | None = None
    expires_s: float | None = None


def is_opaque(key: str) -> bool:
    """Whether it is one of the ``sb_…`` keys."""
    return key.startswith(tuple(_OPAQUE))


def read_key(key: str) -> KeyFacts:
    """What ``key`` says of itself. Never raises: what is not understood is ``unknown``."""
    for prefix, stands_for in _OPAQUE.items():
        if key.startswith(prefix) and len(key) > len(prefix):
            return KeyFacts("opaque", stands_for)
    parts = key.split(".")
    if len(parts) != 3:
        return KeyFacts("unknown")
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        claims = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        return KeyFacts("unknown")
    if not isinstance(claims, dict):
        return KeyFacts("unknown")
    named, expires = claims.get("role"), claims.get("exp")
    role = named if isinstance(named, str) else None
    if isinstance(expires, int | float) and not isinstance(expires, bool):
        return KeyFacts("jwt", role, float(expires))
    return KeyFacts("jwt", role)


def api_headers(key: str, token: str = "") -> dict[str, str]:
    """The headers of a call with a project's ``key``, in the name of ``token``'s user if given."""
    bearer = token or key
    headers = {"apikey": key}
    if bearer and not is_opaque(bearer):
        headers["Authorization"] = f"Bearer {bearer}"
    return headers


def renewal_in_s(token: str, now_s: float) -> float | None:
    """Seconds from ``now_s`` until ``token`` should be renewed; None when it never expires.

    0 when it has expired or is about to.
    """
    expires_s = read_key(token).expires_s
    if expires_s is None:
        return None
    left_s = expires_s - now_s
    return max(0.0, left_s - min(RENEW_MOST_S, left_s * RENEW_SHARE))
