"""The gateway in front of a project: which key came with a request, and whose it is."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse, Response

from crossfade.local.supabase.tokens import Claims, TokenFault, check_token

__all__ = ["Gateway", "Identity", "Refusal"]


class Refusal(Exception):
    """A request that ends here, with the answer that the real service gives."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        self.status = status
        self.body = dict(body)
        super().__init__(status)

    def response(self) -> Response:
        return JSONResponse(self.body, self.status)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls: the database role and the claims that policies see."""

    role: str
    claims: Mapping[str, Any]


class Gateway:
    """Knows the project's two keys and its JWT secret.

    Args:
        jwt_secret: what tokens are signed with.
        anon_key, service_role_key: JWTs or opaque ``sb_publishable_…`` and ``sb_secret_…`` keys.
    """

    def __init__(self, jwt_secret: str, anon_key: str, service_role_key: str) -> None:
        self._secret = jwt_secret
        self._keys = {anon_key: "anon", service_role_key: "service_role"}
        self._expired_at_s = float("-inf")

    def check_token(self, token: str) -> Claims:
        """The claims behind a token or an opaque key, as Realtime gets to see them.

        Raises:
            TokenFault: as ``tokens.check_token``.
        """
        role = self._keys.get(token)
        if role is not None and token.startswith("sb_"):
            # The real gateway puts a short-lived token in the place of an opaque key.
            expires = time.time() + 3_600
            return Claims(role, expires, {"role": role, "exp": int(expires)})
        claims = check_token(token, self._secret, time.time())
        if role is None and self.is_expired(claims):
            raise TokenFault("InvalidJWTToken", "Token has expired 0 seconds ago", expired=True)
        return claims

    def expire_tokens(self) -> None:
        """Take every user's token that was issued until now for expired; keys stay valid.

        A token tells the second in which it was issued: new ones are good from the next on.
        """
        self._expired_at_s = time.time()

    def is_expired(self, claims: Claims) -> bool:
        """Whether ``expire_tokens`` was called after a token of a user was issued."""
        if claims.values.get("role") != "authenticated":
            return False
        issued = claims.values.get("iat", 0)
        return not isinstance(issued, int | float) or issued <= self._expired_at_s

    def identify(self, headers: Mapping[str, str], query: Mapping[str, str]) -> Identity:
        """Who a REST request is from.

        Raises:
            Refusal: 401, as the hosted gateway (key) and PostgREST (token) word it.
        """
        key = headers.get("apikey") or query.get("apikey")
        if not key:
            raise Refusal(
                401,
                {
                    "message": "No API key found in request",
                    "hint": "No `apikey` request header or url param was found.",
                },
            )
        if key not in self._keys:
            raise Refusal(
                401,
                {
                    "message": "Invalid API key",
                    "hint": "Double check your Supabase `anon` or `service_role` API key.",
                },
            )
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            token = key
        try:
            claims = self.check_token(token.strip())
        except TokenFault as fault:
            raise Refusal(
                401,
                {
                    "code": "PGRST303" if fault.expired else "PGRST301",
                    "details": None,
                    "hint": None,
                    "message": "JWT expired" if fault.expired else fault.message,
                },
            ) from None
        return Identity(claims.role, claims.values)
