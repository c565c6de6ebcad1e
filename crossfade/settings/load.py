"""All sections together, and how they are read: file, environment, options."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from crossfade.errors import SettingsError
from crossfade.settings.data_plane import (
    BreakerSettings,
    ClassificationSettings,
    JournalSettings,
    LegacySettings,
    PublisherSettings,
    RelaySettings,
    SubscriberSettings,
    SupabaseSettings,
    TapSettings,
    WebSocketSettings,
)
from crossfade.settings.operation import (
    AlertSettings,
    ControlSettings,
    ExportSettings,
    PrefectSettings,
    ReconcileSettings,
    StackSettings,
)
from crossfade.settings.rollout import RolloutSettings
from crossfade.settings.section import Section

__all__ = ["SETTINGS_VARIABLE", "Settings", "load_settings"]

ENVIRONMENT_PREFIX = "CROSSFADE_"
SETTINGS_VARIABLE = "CROSSFADE_SETTINGS"
"""Where flow runs find their crossfade.toml (``tasks.settings_source``); not a setting itself."""

_SUPABASE_NAMES = {
    "SUPABASE_URL": "url",
    "SUPABASE_ANON_KEY": "anon_key",
    "SUPABASE_SERVICE_ROLE_KEY": "service_role_key",
    "SUPABASE_DB_URL": "database_url",
}


class Settings(Section):
    """Everything that can be configured."""

    journal: JournalSettings = JournalSettings()
    classification: ClassificationSettings = ClassificationSettings()
    publisher: PublisherSettings = PublisherSettings()
    relay: RelaySettings = RelaySettings()
    breaker: BreakerSettings = BreakerSettings()
    websocket: WebSocketSettings = WebSocketSettings()
    legacy: LegacySettings = LegacySettings()
    supabase: SupabaseSettings = SupabaseSettings()
    subscriber: SubscriberSettings = SubscriberSettings()
    tap: TapSettings = TapSettings()
    control: ControlSettings = ControlSettings()
    alerts: AlertSettings = AlertSettings()
    rollout: RolloutSettings = Field(default_factory=RolloutSettings)
    reconcile: ReconcileSettings = ReconcileSettings()
    export: ExportSettings = ExportSettings()
    prefect: PrefectSettings = PrefectSettings()
    stack: StackSettings = StackSettings()

    @property
    def topics(self) -> dict[str, str]:
        """Every topic and its category."""
        found = {category: category for category in self.classification.categories}
        for rule in self.classification.rules:
            if rule.topic is not None:
                found[rule.topic] = rule.category
        return found


def load_settings(
    path: Path | None = None,
    environment: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Settings:
    """Read the settings from weak to strong: file, environment, options.

    Args:
        path: a TOML file; None takes ``crossfade.toml`` in the current folder if there is one.
        environment: usually ``os.environ``, handed over by the entry point.
        options: nested mapping as in the file; None values are left out.

    Raises:
        SettingsError: with every fault found, one a line, each naming its place.
    """
    faults: list[str] = []
    merged: dict[str, Any] = {}
    if path is not None or Path("crossfade.toml").is_file():
        merged = _read_file(path or Path("crossfade.toml"))
    _merge(merged, _from_environment(environment or {}, faults))
    _merge(merged, _without_none(options or {}))
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        for fault in error.errors():
            place = ".".join(str(part) for part in fault["loc"]) or "settings"
            message = fault["msg"].removeprefix("Value error, ")
            if fault["type"] == "extra_forbidden":
                message = "unknown setting"
            faults.append(f"{place}: {message}")
        raise SettingsError(faults) from None
    if faults:
        raise SettingsError(faults)
    return settings


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError([f"{path}: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([f"{path}: {error}"]) from error


def _from_environment(environment: Mapping[str, str], faults: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field_name in _SUPABASE_NAMES.items():
        if environment.get(name):
            found.setdefault("supabase", {})[field_name] = environment[name]
    for name, value in sorted(environment.items()):
        if not name.startswith(ENVIRONMENT_PREFIX) or name == SETTINGS_VARIABLE:
            continue
        section, separator, field_name = (
            name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
        )
        if not separator or section not in Settings.model_fields:
            faults.append(f"{name}: unknown setting; write CROSSFADE_SECTION__FIELD")
            continue
        found.setdefault(section, {})[field_name] = value
    return found


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def _without_none(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in options.items()
        if value is not None
    }
