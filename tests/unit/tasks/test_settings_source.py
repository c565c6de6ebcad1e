"""Flow runs find their settings by CROSSFADE_SETTINGS, and their stores beside that file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from crossfade.errors import SettingsError
from tasks.settings_source import settings


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    settings.cache_clear()
    yield
    settings.cache_clear()


def test_file_by_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "crossfade.toml"
    file.write_text('[journal]\npath = "data/j.db"\n[rollout]\nname = "r"\n')
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("CROSSFADE_SETTINGS", str(file))
    monkeypatch.setenv("CROSSFADE_PREFECT__WORK_POOL", "other")
    found = settings()
    assert found.rollout.name == "r"
    assert found.prefect.work_pool == "other"
    assert found.journal.path == tmp_path / "data/j.db"
    assert found.tap.path == tmp_path / "crossfade-tap.db"
    assert found.reconcile.state == tmp_path / "crossfade-reconcile.db"
    assert settings() is found


def test_an_absolute_path_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "crossfade.toml"
    file.write_text(f'[tap]\npath = "{tmp_path}/x/t.db"\n')
    monkeypatch.setenv("CROSSFADE_SETTINGS", str(file))
    assert settings().tap.path == tmp_path / "x/t.db"


def test_without_variable_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CROSSFADE_SETTINGS", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "crossfade.toml").write_text('[rollout]\nname = "here"\n')
    assert settings().rollout.name == "here"


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSFADE_SETTINGS", str(tmp_path / "no.toml"))
    with pytest.raises(SettingsError, match=r"no\.toml"):
        settings()
