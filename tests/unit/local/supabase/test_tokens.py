import jwt
import pytest

from crossfade.local.supabase.gateway import Gateway, Refusal
from crossfade.local.supabase.tokens import TokenFault, check_token

SECRET = "a secret that is at least thirty-two bytes"
NOW = 1_800_000_000.0


def token(secret: str = SECRET, algorithm: str = "HS256", **claims: object) -> str:
    return jwt.encode(claims, secret, algorithm=algorithm)


def test_a_good_token() -> None:
    claims = check_token(token(role="authenticated", exp=NOW + 5, sub="u", aud="x"), SECRET, NOW)
    assert (claims.role, claims.expires_s, claims.values["sub"]) == ("authenticated", NOW + 5, "u")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "MalformedJWT: The token provided is not a valid JWT"),
        ("a.b.c", "MalformedJWT: The token provided is not a valid JWT"),
        (
            token("another secret of at least 32 bytes!", role="anon", exp=NOW + 5),
            "JwtSignatureError: Failed to validate JWT signature",
        ),
        (
            token("", "none", role="service_role", exp=NOW + 5),
            "JwtSignatureError: Failed to validate JWT signature",
        ),
        (
            token(role="anon"),
            "InvalidJWTToken: Fields `role` and `exp` are required in JWT",
        ),
        (
            token(exp=NOW + 5),
            "InvalidJWTToken: Fields `role` and `exp` are required in JWT",
        ),
        (token(role="anon", exp=NOW - 60), "InvalidJWTToken: Token has expired 60 seconds ago"),
        (token(role="anon", exp=NOW), "InvalidJWTToken: Token has expired 0 seconds ago"),
    ],
)
def test_faults_have_realtimes_words(text: str, fault: str) -> None:
    with pytest.raises(TokenFault) as raised:
        check_token(text, SECRET, NOW)
    assert str(raised.value) == fault
    assert raised.value.expired == ("expired" in fault)


def test_opaque_keys_are_keys() -> None:
    gateway = Gateway(SECRET, "sb_publishable_a", "sb_secret_b")
    assert gateway.identify({"apikey": "sb_publishable_a"}, {}).role == "anon"
    assert gateway.identify({}, {"apikey": "sb_secret_b"}).role == "service_role"
    headers = {"apikey": "sb_secret_b", "authorization": "Bearer sb_secret_b"}
    assert gateway.identify(headers, {}).role == "service_role"
    assert gateway.check_token("sb_publishable_a").role == "anon"
    with pytest.raises(Refusal):
        gateway.identify({"apikey": "sb_secret_c"}, {})
