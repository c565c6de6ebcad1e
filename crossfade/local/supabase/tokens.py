"""Checks JSON Web Tokens as Realtime does, with its words for each fault."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

__all__ = ["Claims", "TokenFault", "check_token"]


class TokenFault(Exception):
    """A token that is not accepted.

    Attributes:
        code: Realtime's name of the fault, as in join replies.
        message: its sentence, as in ``system`` messages and handshake refusals.
        expired: whether age is the only fault.
    """

    def __init__(self, code: str, message: str, *, expired: bool = False) -> None:
        self.code = code
        self.message = message
        self.expired = expired
        super().__init__(f"{code}: {message}")


@dataclass(frozen=True, slots=True)
class Claims:
    """What an accepted token says; ``expires_s`` is seconds since 1970."""

    role: str
    expires_s: float
    values: Mapping[str, Any]


def check_token(token: str, secret: str, now_s: float) -> Claims:
    """The claims of ``token``.

    Raises:
        TokenFault: no JWT, another signature, without role or exp, or expired at ``now_s``.
    """
    try:
        values = jwt.decode(
            token,
            secret,
            algorithms=["HS256"],
            options={"verify_exp": False, "verify_aud": False, "verify_iat": False},
        )
    except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError):
        raise TokenFault("JwtSignatureError", "Failed to validate JWT signature") from None
    except jwt.PyJWTError:
        raise TokenFault("MalformedJWT", "The token provided is not a valid JWT") from None
    role, expires = values.get("role"), values.get("exp")
    if not isinstance(role, str) or not isinstance(expires, int | float):
        raise TokenFault("InvalidJWTToken", "Fields `role` and `exp` are required in JWT")
    if expires <= now_s:
        age = int(now_s - expires)
        raise TokenFault("InvalidJWTToken", f"Token has expired {age} seconds ago", expired=True)
    return Claims(role, float(expires), values)
