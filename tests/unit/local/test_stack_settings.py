"""The generated settings: complete, loadable, private; the user's own part survives."""

import json
import stat
import tomllib
from pathlib import Path

import pytest
from pydantic import SecretStr

from crossfade.errors import SettingsError, UsageError
from crossfade.local.stack_settings import Secrets, stack_settings, to_toml, write_settings
from crossfade.settings import (
    ClassificationRule,
    ClassificationSettings,
    RolloutSettings,
    Settings,
    StageSettings,
    SupabaseSettings,
    load_settings,
)

PORTS = {"postgres": 1001, "supabase": 1002, "hub": 1003, "control": 1004, "prefect": 1005}


def secrets_of(folder: Path) -> Secrets:
    return Secrets.keep(folder / "secrets.json")


def test_the_written_file_loads_as_the_stacks_settings(tmp_path: Path) -> None:
    base = Settings(
        classification=ClassificationSettings(
            rules=(
                ClassificationRule(name='a "quoted" \\ name\u007f', category="debug", equals=True),
                ClassificationRule(name="ß\U0001f6eb", category="critical", pattern=r"\bx\b"),
            )
        ),
        rollout=RolloutSettings(
            stages=(
                StageSettings(name="one", percent={"*": 12.5, "critical": 0.0}, soak_s=6.0),
                StageSettings(name="two"),
            )
        ),
    )
    own = secrets_of(tmp_path)
    path = tmp_path / "crossfade.toml"
    write_settings(stack_settings(base, tmp_path, PORTS, own), path)
    found = load_settings(path)
    assert found.classification == base.classification
    assert found.rollout == base.rollout
    assert found.websocket.url == "ws://127.0.0.1:1003"
    assert found.control.url == "http://127.0.0.1:1004"
    assert found.prefect.api_url == "http://127.0.0.1:1005/api"
    assert found.prefect.auth.get_secret_value() == f"crossfade:{own.prefect_password}"
    assert found.supabase.url == "http://127.0.0.1:1002"
    assert found.supabase.service_role_key.get_secret_value().count(".") == 2
    assert "@127.0.0.1:1001/" in found.supabase.database_url.get_secret_value()
    assert found.journal.path == tmp_path / "journal.db"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not list(tmp_path.glob("*.part"))


def test_a_named_project_is_used_as_it_is(tmp_path: Path) -> None:
    base = Settings(
        supabase=SupabaseSettings(
            url="https://abc.supabase.co",
            anon_key=SecretStr("anon"),
            service_role_key=SecretStr("service"),
        )
    )
    found = stack_settings(base, tmp_path, PORTS, secrets_of(tmp_path))
    assert found["supabase"] == {
        "url": "https://abc.supabase.co",
        "anon_key": "anon",
        "service_role_key": "service",
    }


def test_a_project_without_its_keys_is_refused_naming_them(tmp_path: Path) -> None:
    base = Settings(supabase=SupabaseSettings(url="https://abc.supabase.co"))
    with pytest.raises(SettingsError) as caught:
        stack_settings(base, tmp_path, PORTS, secrets_of(tmp_path))
    assert len(caught.value.faults) == 2
    assert "supabase.anon_key" in caught.value.faults[0]
    assert "SUPABASE_SERVICE_ROLE_KEY" in caught.value.faults[1]


def test_secrets_are_made_once_and_kept_private(tmp_path: Path) -> None:
    first = secrets_of(tmp_path)
    assert secrets_of(tmp_path) == first
    values = [getattr(first, name) for name in Secrets.__slots__]
    assert len(set(values)) == len(values)
    assert all(len(value) >= 32 for value in values)
    assert all(value not in repr(first) for value in values)
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600


def test_a_secret_that_an_earlier_version_did_not_have_is_added(tmp_path: Path) -> None:
    first = secrets_of(tmp_path)
    file = tmp_path / "secrets.json"
    kept = {
        name: one for name, one in json.loads(file.read_text()).items() if "prefect" not in name
    }
    file.write_text(json.dumps(kept))
    second = secrets_of(tmp_path)
    assert second.operator_token == first.operator_token
    assert len(second.prefect_password) >= 32
    assert secrets_of(tmp_path) == second
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "{}", "[]"])
def test_unreadable_secrets_are_a_usage_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "secrets.json").write_text(content)
    with pytest.raises(UsageError, match=r"secrets\.json: can not be read"):
        secrets_of(tmp_path)


def test_toml_keeps_every_kind_of_value() -> None:
    values = {
        "plain": 'a\n"\t\\',
        "numbers": [1, 2.5, -3e300],
        "flag": False,
        "empty": [],
        "table": {"*": 1.0, "inner": {"deep": ["x", "ÿ"]}},
        "rows": [{"a": 1, "sub": {"b": True}}, {"a": 2}],
    }
    assert tomllib.loads(to_toml(values)) == values
