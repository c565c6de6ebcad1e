"""A real project is named whole or not at all."""

import pytest

from crossfade.core.keys import read_key
from crossfade.local.keys import new_secret
from tests.contract.target import PREFIX, real_project

WHOLE = {
    "URL": "https://abc.supabase.co",
    "ANON_KEY": "sb_publishable_x",
    "SERVICE_ROLE_KEY": "sb_secret_x",
}


def named(**values: str) -> dict[str, str]:
    return {PREFIX + name: value for name, value in values.items()}


def test_none_is_named() -> None:
    assert real_project({"HOME": "/", PREFIX + "URL": ""}) is None


def test_a_whole_one() -> None:
    found = real_project(named(**WHOLE, ACCESS_TOKEN="a.b.c", DB_URL="postgresql://x"))
    assert found is not None
    assert (found.url, found.access_token, found.database_url) == (
        "https://abc.supabase.co", "a.b.c", "postgresql://x",
    )  # fmt: skip
    minted = real_project(named(**WHOLE, JWT_SECRET=new_secret()))
    assert minted is not None
    assert read_key(minted.access_token).role == "authenticated"


def test_a_part_of_one_is_an_error_and_not_a_skipped_suite() -> None:
    with pytest.raises(ValueError, match="needs also CROSSFADE_TEST_SUPABASE_JWT_SECRET or"):
        real_project(named(**WHOLE))
    with pytest.raises(ValueError, match="CROSSFADE_TEST_SUPABASE_ANON_KEY"):
        real_project(named(URL="https://abc.supabase.co"))
