"""Settings: file, then environment, then options; every fault at once."""

from pathlib import Path

import pytest

from crossfade.errors import SettingsError
from crossfade.settings import RolloutSettings, Settings, StageSettings, load_settings


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "crossfade.toml"
    path.write_text(
        '[publisher]\nsource = "file"\n[relay]\nbatch_events = 7\n[journal]\nlinger_ms = 5\n'
    )
    return path


def test_defaults_are_the_strategy() -> None:
    settings = Settings()
    assert [stage.percent for stage in settings.rollout.stages] == [
        {"*": 10},
        {"*": 50},
        {"*": 100},
    ]
    targets = settings.rollout.stages[0].targets
    assert (targets.delivery, targets.error_rate, targets.error_for_s) == (0.999, 0.05, 300)
    assert (targets.p95_ms, targets.minimum_events) == (500, 2999)


def test_options_beat_environment_beats_file(toml: Path) -> None:
    environment = {"CROSSFADE_PUBLISHER__SOURCE": "env", "CROSSFADE_RELAY__BATCH_EVENTS": "8"}
    settings = load_settings(toml, environment, {"relay": {"batch_events": 9, "poll_s": None}})
    assert settings.publisher.source == "env"
    assert settings.relay.batch_events == 9
    assert settings.journal.linger_ms == 5


def test_supabase_names_are_understood_and_secrets_do_not_show(tmp_path: Path) -> None:
    environment = {"SUPABASE_URL": "http://x", "SUPABASE_SERVICE_ROLE_KEY": "very-secret"}
    settings = load_settings(_empty(tmp_path), environment)
    assert settings.supabase.url == "http://x"
    assert settings.supabase.service_role_key.get_secret_value() == "very-secret"
    assert "very-secret" not in repr(settings)


def test_every_fault_is_listed_with_its_place(toml: Path) -> None:
    toml.write_text('[publisher]\nsorce = "x"\n[relay]\nbatch_events = 0\n[unknown]\na = 1\n')
    environment = {"CROSSFADE_NOWHERE": "1", "CROSSFADE_JOURNAL__DURABILITY": "maybe"}
    with pytest.raises(SettingsError) as caught:
        load_settings(toml, environment)
    text = str(caught.value)
    assert len(caught.value.faults) == 5
    for place in (
        "publisher.sorce: unknown setting",
        "relay.batch_events: ",
        "unknown: unknown setting",
        "CROSSFADE_NOWHERE: unknown setting",
        "journal.durability: ",
    ):
        assert place in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[publisher", "crossfade.toml"),
        ('[classification]\ndefault = "nope"\n', "nope is not in categories"),
        (
            '[[rollout.stages]]\nname="a"\npercent={"*"=50}\n[[rollout.stages]]\nname="b"\npercent={"*"=10}\n',
            "stages only grow",
        ),
        (
            '[[rollout.stages]]\nname="a"\n[[rollout.stages]]\nname="a"\n',
            "different names",
        ),
        ('[[rollout.stages]]\nname="a"\npercent={"*"=101}\n', "must be 0 to 100"),
    ],
)
def test_bad_files(toml: Path, text: str, message: str) -> None:
    toml.write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_settings(toml)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml: No such file"):
        load_settings(tmp_path / "nowhere.toml")


def test_topics_are_the_categories_and_those_of_rules(toml: Path) -> None:
    toml.write_text(
        '[[classification.rules]]\nname="c"\ncategory="critical"\ntype="*.cancelled"\ntopic="cancelled"\n'
    )
    assert load_settings(toml).topics["cancelled"] == "critical"
    assert load_settings(toml).topics["debug"] == "debug"


def _empty(folder: Path) -> Path:
    path = folder / "empty.toml"
    path.write_text("")
    return path


@pytest.mark.parametrize(
    ("preset", "names", "last"),
    [
        ("three-weeks", 3, 100),
        ("eight-weeks", 8, 100),
        ("slow", 6, 100),
        ("big-bang", 1, 100),
    ],
)
def test_presets_are_plans_that_validate(preset: str, names: int, last: float) -> None:
    found = RolloutSettings(preset=preset)
    assert len(found.stages) == names
    assert found.stages[-1].percent == {"*": last}
    again = RolloutSettings.model_validate(found.model_dump(mode="json"))
    assert again == found, "what `crossfade start` sends is the plan itself"


def test_written_stages_win_over_the_preset() -> None:
    found = RolloutSettings(preset="slow", stages=(StageSettings(name="all"),))
    assert [stage.name for stage in found.stages] == ["all"]


@pytest.mark.parametrize(
    ("stage", "why"),
    [
        ({"ramp": [5, 1]}, "ramp must rise"),
        ({"ramp": [0, 1]}, "ramp must rise"),
        ({"ramp": [50], "percent": {"*": 10}}, "beyond"),
        ({"hold_s": 5}, "there is none"),
        ({"written": {"*": 101}}, "written of"),
        ({"promote": "nobody"}, "promote"),
    ],
)
def test_a_stage_that_makes_no_sense_is_refused(stage: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        RolloutSettings.model_validate({"stages": [{"name": "x", **stage}]})


def test_an_unknown_preset_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="three-weeks, eight-weeks, slow, big-bang"):
        RolloutSettings.model_validate({"preset": "fast"})
