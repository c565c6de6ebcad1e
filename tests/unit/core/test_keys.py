"""Both kinds of key, and when a token is to be renewed."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.core.keys import KeyFacts, api_headers, is_opaque, read_key, renewal_in_s
from crossfade.local.keys import make_keys, mint_token, new_secret

SECRET = new_secret()
KEYS = make_keys(SECRET, now_s=1_000)


def unsigned(claims: Any) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{body}.signature"


@pytest.mark.parametrize(
    ("key", "facts"),
    [
        (KEYS.anon, KeyFacts("jwt", "anon", 1_000 + 315_360_000)),
        (KEYS.service_role, KeyFacts("jwt", "service_role", 1_000 + 315_360_000)),
        (
            mint_token(SECRET, "authenticated", now_s=5, lifetime_s=60),
            KeyFacts("jwt", "authenticated", 65),
        ),
        ("sb_publishable_abc", KeyFacts("opaque", "anon")),
        ("sb_secret_abc", KeyFacts("opaque", "service_role")),
        ("sb_secret_", KeyFacts("unknown")),
        ("", KeyFacts("unknown")),
        ("not.a.jwt", KeyFacts("unknown")),
        ("a.b", KeyFacts("unknown")),
        (unsigned([1]), KeyFacts("unknown")),
        (unsigned({"role": 7, "exp": True}), KeyFacts("jwt")),
    ],
)
def test_what_a_key_says(key: str, facts: KeyFacts) -> None:
    assert read_key(key) == facts


@given(st.text(max_size=40) | st.text("abc.=-_").map(lambda text: f"e.{text}.s"))
def test_nothing_makes_it_raise(key: str) -> None:
    assert read_key(key).kind in ("jwt", "opaque", "unknown")


def test_tokens_go_into_authorization_and_opaque_keys_never() -> None:
    token = mint_token(SECRET, "authenticated")
    assert api_headers(KEYS.anon) == {"apikey": KEYS.anon, "Authorization": f"Bearer {KEYS.anon}"}
    assert api_headers("sb_secret_x") == {"apikey": "sb_secret_x"}
    assert api_headers("sb_publishable_x", token) == {
        "apikey": "sb_publishable_x",
        "Authorization": f"Bearer {token}",
    }
    assert is_opaque("sb_secret_x")
    assert not is_opaque(KEYS.anon)


@pytest.mark.parametrize(
    ("lifetime_s", "after_s", "wait_s"),
    [(3_600, 0, 3_540), (3_600, 3_590, 8), (100, 0, 80), (100, 100, 0), (100, 5_000, 0)],
)
def test_a_token_is_renewed_while_it_is_good(
    lifetime_s: float, after_s: float, wait_s: float
) -> None:
    token = mint_token(SECRET, "authenticated", now_s=1_000, lifetime_s=lifetime_s)
    assert renewal_in_s(token, 1_000 + after_s) == pytest.approx(wait_s)


def test_what_never_expires_is_never_renewed() -> None:
    assert renewal_in_s(unsigned({"role": "authenticated"}), 0) is None
    assert renewal_in_s("sb_secret_x", 0) is None
