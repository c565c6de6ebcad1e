"""What the stand-in's entry point says when it can not start."""

import socket
from pathlib import Path

import pytest

from crossfade.local.keys import make_keys, new_secret
from crossfade.local.supabase.__main__ import _bind, _quotas, main


def settings(folder: Path, url: str, database_url: str, secret: str | None = None) -> list[str]:
    secret = new_secret() if secret is None else secret
    keys = make_keys(new_secret())
    path = folder / "crossfade.toml"
    path.write_text(
        f'[supabase]\nurl = "{url}"\nanon_key = "{keys.anon}"\n'
        f'service_role_key = "{keys.service_role}"\ndatabase_url = "{database_url}"\n'
        f'[stack]\njwt_secret = "{secret}"\n'
    )
    return ["--settings", str(path)]


@pytest.fixture(autouse=True)
def _no_signal_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)


def test_everything_missing_is_said_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(settings(tmp_path, "https://x.supabase.co", "", "short")) == 2
    errors = capsys.readouterr().err
    for name in ("supabase.database_url", "stack.jwt_secret", "supabase.url"):
        assert name in errors


def test_a_taken_port_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(settings(tmp_path, f"http://127.0.0.1:{port}", "postgresql://x")) == 2
    assert f"port {port} for the stand-in is taken" in capsys.readouterr().err


def test_a_missing_database_is_said_without_its_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"postgresql://postgres:hunter2@/x?host={tmp_path}"
    assert main(settings(tmp_path, "http://127.0.0.1:0", url)) == 1
    errors = capsys.readouterr().err
    assert "embedded database can not be prepared" in errors
    assert "hunter2" not in errors


def test_the_socket_says_that_it_is_tcp() -> None:
    """Else asyncio leaves Nagle's algorithm on: 40 ms for every answer on a kept connection."""
    with _bind("127.0.0.1", 0) as bound:
        assert bound.proto == socket.IPPROTO_TCP


@pytest.mark.parametrize(("plan", "limit"), [("", 0), ("none", 0), ("free", 100), ("pro", 500)])
def test_the_quotas_are_those_of_the_named_plan(plan: str, limit: int) -> None:
    assert _quotas(plan, 1.0).max_events_per_second == limit


def test_a_plan_that_does_not_exist_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings may name it: what holds for the relay is held against it."""
    monkeypatch.setattr("crossfade.local.supabase.__main__.prepare_database", lambda _: None)
    arguments = settings(tmp_path, "http://127.0.0.1:0", "postgresql://x")
    with Path(arguments[1]).open("a") as file:
        file.write('[relay]\nplan = "silver"\n')
    assert main(arguments) == 2
    assert "plan 'silver': must be one of" in capsys.readouterr().err
