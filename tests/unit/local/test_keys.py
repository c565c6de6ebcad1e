import jwt
import pytest

from crossfade.errors import UsageError
from crossfade.local.keys import make_keys, mint_token, new_secret

SECRET = "a secret that is at least thirty-two bytes"


def read(token: str) -> dict[str, object]:
    claims: dict[str, object] = jwt.decode(
        token, SECRET, algorithms=["HS256"], options={"verify_exp": False}
    )
    return claims


def test_a_token_says_role_times_and_user() -> None:
    token = mint_token(SECRET, "authenticated", lifetime_s=60, subject="u-1", now_s=1_000.7)
    assert read(token) == {
        "iss": "crossfade-local",
        "role": "authenticated",
        "iat": 1_000,
        "exp": 1_060,
        "sub": "u-1",
    }


def test_the_keys_of_a_project_last_for_years() -> None:
    keys = make_keys(SECRET, now_s=0)
    assert [(read(key)["role"], read(key)["exp"]) for key in keys] == [
        ("anon", 315_360_000),
        ("service_role", 315_360_000),
    ]


def test_secrets_are_long_and_random() -> None:
    assert new_secret() != new_secret()
    mint_token(new_secret(), "anon")


@pytest.mark.parametrize(("secret", "role"), [("short", "anon"), (SECRET, "root")])
def test_what_can_not_be_is_refused(secret: str, role: str) -> None:
    with pytest.raises(UsageError) as raised:
        mint_token(secret, role)
    assert "short" not in str(raised.value)
