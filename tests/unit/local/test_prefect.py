"""Command lines and environments of Prefect in the embedded stack."""

import stat
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic import SecretStr

from crossfade.errors import StackError
from crossfade.local import prefect
from crossfade.settings import PrefectSettings

INHERITED = {
    "PATH": "/bin",
    "PREFECT_API_KEY": "somebody's",
    "PREFECT_PROFILE": "work",
    "PREFECT_API_AUTH_STRING": "somebody's:own",
    "CROSSFADE_CONTROL__URL": "http://elsewhere",
    "PYTHONPATH": "/own",
}


NOWHERE = PrefectSettings(api_url="http://127.0.0.1:9/api", work_pool="pool")
LOCKED = NOWHERE.model_copy(update={"auth": SecretStr('cross"fade:p:w')})


def test_server(tmp_path: Path) -> None:
    command, environment = prefect.server(tmp_path, 4201, NOWHERE, inherited=INHERITED)
    assert command == (
        *(sys.executable, "-m", "tasks.server"),
        *("--host", "127.0.0.1", "--port", "4201"),
    )
    assert environment["PATH"] == "/bin"
    assert environment["PREFECT_HOME"] == str(tmp_path)
    assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert environment["PREFECT_API_URL"] == "http://127.0.0.1:4201/api"
    for name in (
        "PREFECT_API_KEY",
        "PREFECT_PROFILE",
        "CROSSFADE_CONTROL__URL",
        "PREFECT_API_AUTH_STRING",
        "PREFECT_SERVER_API_AUTH_STRING",
    ):
        assert name not in environment


def test_temporary_files_are_in_the_home_whoever_comes_first(tmp_path: Path) -> None:
    home = tmp_path / "prefect"
    for _ in range(2):
        prefect.make_temporary(home)
    _, environment = prefect.worker(home, NOWHERE, tmp_path / "c.toml", inherited=INHERITED)
    assert Path(environment["TMPDIR"]).is_dir()
    assert Path(environment["TMPDIR"]).parent == home
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_the_login_is_in_environments_and_in_no_command_line(tmp_path: Path) -> None:
    login = LOCKED.auth.get_secret_value()
    server = prefect.server(tmp_path, 4201, LOCKED, inherited=INHERITED)
    worker = prefect.worker(tmp_path, LOCKED, tmp_path / "c.toml", inherited=INHERITED)
    assert server.environment["PREFECT_SERVER_API_AUTH_STRING"] == login
    assert worker.environment["PREFECT_API_AUTH_STRING"] == login
    assert "PREFECT_SERVER_API_AUTH_STRING" not in worker.environment
    assert login not in " ".join((*server.command, *worker.command))


def test_the_profile_is_the_owners_command_line(tmp_path: Path) -> None:
    prefect.write_profile(tmp_path, LOCKED)
    file = tmp_path / "profiles.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = tomllib.loads(file.read_text())
    assert found["profiles"][found["active"]] == {
        "PREFECT_API_URL": "http://127.0.0.1:9/api",
        "PREFECT_API_AUTH_STRING": 'cross"fade:p:w',
    }


def test_worker_tells_its_runs_where_the_settings_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command, environment = prefect.worker(
        tmp_path, NOWHERE, Path("crossfade.toml"), inherited=INHERITED
    )
    assert command[3:7] == ("--pool", "pool", "--name", prefect.worker_name("pool"))
    if sys.platform == "linux":
        assert command[7:] == ("--warm", str(tmp_path / "warm.sock"))
    assert environment["CROSSFADE_SETTINGS"] == str(tmp_path / "crossfade.toml")
    assert environment["PREFECT_WORKER_QUERY_SECONDS"] == "1"
    code, own = environment["PYTHONPATH"].split(":")
    assert (Path(code) / "flows").is_dir()
    assert own == "/own"


def test_no_warm_process_where_its_socket_does_not_fit(tmp_path: Path) -> None:
    assert prefect.warm_socket(tmp_path / ("x" * 100)) is None


def test_weeks_by_stage() -> None:
    assert prefect.week_deployment(0) == "rollout-week/week-1"
    assert prefect.week_deployment(2) == "rollout-week/week-3"
    assert prefect.week_deployment(7) == "rollout-week/week-8"
    assert tuple(map(prefect.week_deployment, range(3))) == prefect.WEEKS


async def test_deploy_that_fails_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "crossfade.toml"
    broken.write_text("[prefect]\nwrong = 1\n")
    with pytest.raises(StackError, match=r"prefect\.wrong: unknown setting"):
        await prefect.deploy(tmp_path, NOWHERE, broken, inherited=INHERITED, timeout_s=60)


async def test_deploy_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    file = tmp_path / "crossfade.toml"
    file.touch()
    with pytest.raises(StackError, match=r"not made within 0\.2 s"):
        await prefect.deploy(tmp_path, NOWHERE, file, inherited=INHERITED, timeout_s=0.2)


def test_prefect_file_is_the_checkouts_or_the_bundles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prefect.prefect_file() == Path(__file__).parents[3] / "prefect.yaml"
    package = tmp_path / "site-packages" / "crossfade"
    (package / "_bundle").mkdir(parents=True)
    monkeypatch.setattr(prefect.resources, "files", lambda name: package)
    with pytest.raises(StackError, match=r"prefect\.yaml is neither"):
        prefect.prefect_file()
    (package / "_bundle" / "prefect.yaml").touch()
    assert prefect.prefect_file() == package / "_bundle" / "prefect.yaml"
