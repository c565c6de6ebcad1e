"""A login is shown as Prefect's server, or Prefect Cloud, reads it."""

import base64

import pytest

from crossfade.prefect_login import login_headers


@pytest.mark.parametrize("login", ["user:password", "a:b:c", ":", "ä:ö"])
def test_a_servers_login(login: str) -> None:
    kind, _, value = login_headers(login)["Authorization"].partition(" ")
    assert (kind, base64.b64decode(value).decode()) == ("Basic", login)


def test_clouds_key_and_nothing() -> None:
    assert login_headers("pnu_abc") == {"Authorization": "Bearer pnu_abc"}
    assert login_headers("") == {}
