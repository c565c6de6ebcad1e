"""API keys of a Supabase project as JSON Web Tokens (HS256), minted from its secret.

For the embedded stack and for tests. A real project's keys come from its dashboard.
"""

import secrets
import time
from typing import NamedTuple

import jwt

from crossfade.errors import UsageError

__all__ = ["MIN_SECRET_BYTES", "ROLES", "ProjectKeys", "make_keys", "mint_token", "new_secret"]

ROLES = ("anon", "authenticated", "service_role")
MIN_SECRET_BYTES = 32
"""RFC 7518 section 3.2: a key for HS256 has at least the size of the hash."""

_YEAR_S = 365 * 86_400.0


class ProjectKeys(NamedTuple):
    """The two keys that a project hands out."""

    anon: str
    service_role: str


def new_secret() -> str:
    """A random secret that is long enough for HS256."""
    return secrets.token_urlsafe(48)


def mint_token(
    secret: str,
    role: str,
    *,
    lifetime_s: float = 3_600.0,
    subject: str | None = None,
    now_s: float | None = None,
) -> str:
    """A token for ``role``, valid from ``now_s`` (default: now) for ``lifetime_s`` seconds.

    Args:
        subject: the user's id (``sub``), which ``auth.uid()`` returns in policies.

    Raises:
        UsageError: the secret is too short, or no such role.
    """
    if role not in ROLES:
        raise UsageError(f"role {role!r} is unknown; take one of {', '.join(ROLES)}")
    if len(secret.encode()) < MIN_SECRET_BYTES:
        raise UsageError(f"the JWT secret must have at least {MIN_SECRET_BYTES} bytes")
    issued = time.time() if now_s is None else now_s
    claims: dict[str, object] = {
        "iss": "crossfade-local",
        "role": role,
        "iat": int(issued),
        "exp": int(issued + lifetime_s),
    }
    if subject is not None:
        claims["sub"] = subject
    return jwt.encode(claims, secret, algorithm="HS256")


def make_keys(secret: str, *, now_s: float | None = None) -> ProjectKeys:
    """The anon and the service_role key of a project, valid for ten years as a hosted one's.

    Raises:
        UsageError: the secret is too short.
    """
    anon, service_role = (
        mint_token(secret, role, lifetime_s=10 * _YEAR_S, now_s=now_s)
        for role in ("anon", "service_role")
    )
    return ProjectKeys(anon, service_role)
