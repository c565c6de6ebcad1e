"""One typed settings object: ``crossfade.toml``, then the environment, then options.

Only entry points call ``load_settings``; everything else is handed a ``Settings`` or one
of its sections. Environment names are ``CROSSFADE_SECTION__FIELD``; Supabase's own names
(``SUPABASE_URL``, ``SUPABASE_ANON_KEY``, ``SUPABASE_SERVICE_ROLE_KEY``,
``SUPABASE_DB_URL``) are understood as well.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from crossfade.core.flags import DEFAULT_CATEGORIES, EVERYTHING
from crossfade.errors import SettingsError

__all__ = [
    "SETTINGS_VARIABLE",
    "BreakerSettings",
    "ClassificationRule",
    "ClassificationSettings",
    "ControlSettings",
    "JournalSettings",
    "PrefectSettings",
    "PublisherSettings",
    "ReconcileSettings",
    "RelaySettings",
    "RolloutSettings",
    "Settings",
    "StackSettings",
    "StageSettings",
    "SubscriberSettings",
    "SupabaseSettings",
    "TapSettings",
    "Targets",
    "WebSocketSettings",
    "load_settings",
]

ENVIRONMENT_PREFIX = "CROSSFADE_"
SETTINGS_VARIABLE = "CROSSFADE_SETTINGS"
"""Where flow runs find their crossfade.toml (``tasks.settings_source``); not a setting itself."""

_SUPABASE_NAMES = {
    "SUPABASE_URL": "url",
    "SUPABASE_ANON_KEY": "anon_key",
    "SUPABASE_SERVICE_ROLE_KEY": "service_role_key",
    "SUPABASE_DB_URL": "database_url",
}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class JournalSettings(_Section):
    """The publisher's local storage."""

    path: Path = Path("crossfade-journal.db")
    durability: Literal["fsync", "os"] = "fsync"
    linger_ms: float = Field(2.0, ge=0, le=1_000, description="longest wait to fill a group commit")
    group_events: int = Field(1_000, ge=1, le=100_000)
    queue_events: int = Field(20_000, ge=1, description="publish() waits above this")
    epoch: int | None = Field(
        None, ge=0, description="of a new journal; default: the second of its birth"
    )


class ClassificationRule(_Section):
    """The first rule that matches gives the category (and, if set, the topic)."""

    name: str
    category: str
    type: str | None = Field(None, description="shell pattern over the event's type")
    field: str | None = Field(None, description="dotted path into the content")
    equals: str | int | float | bool | None = None
    pattern: str | None = Field(
        None, description="regular expression searched in the field, or in the type"
    )
    topic: str | None = None


class ClassificationSettings(_Section):
    """How events get their category; topics default to the category."""

    categories: tuple[str, ...] = DEFAULT_CATEGORIES
    rules: tuple[ClassificationRule, ...] = ()
    heuristics: bool = True
    default: str = "system"

    @model_validator(mode="after")
    def _known(self) -> "ClassificationSettings":
        unknown = {rule.category for rule in self.rules} - set(self.categories)
        if unknown or self.default not in self.categories:
            names = ", ".join(sorted(unknown or {self.default}))
            raise ValueError(f"category {names} is not in categories")
        return self


class PublisherSettings(_Section):
    """The publisher inside the application."""

    source: str = "app"
    max_event_bytes: int = Field(65_536, ge=256, le=1_000_000)
    drain_s: float = Field(10.0, ge=0, description="longest wait of close() for what is owed")


class RelaySettings(_Section):
    """From the journal to Supabase."""

    batch_events: int = Field(500, ge=1, le=5_000)
    batch_bytes: int = Field(2_000_000, ge=100_000, le=12_000_000)
    frame_limit_bytes: int = Field(200_000, ge=1_000, le=3_000_000)
    timeout_s: float = Field(5.0, gt=0)
    poll_s: float = Field(0.05, gt=0, description="waits so long for a fuller batch to Supabase")
    heads_s: float = Field(1.0, gt=0)
    retry_initial_s: float = Field(0.2, gt=0)
    retry_max_s: float = Field(30.0, gt=0)


class BreakerSettings(_Section):
    """Per-sink circuit breaker (DESIGN section 6)."""

    failure_rate: float = Field(0.05, gt=0, lt=1, description="trips strictly above")
    window_s: float = Field(300.0, gt=0)
    sub_windows: int = Field(5, ge=1, le=60, description="each of them must be above the rate")
    minimum_calls: int = Field(20, ge=1)
    slow_call_ms: float = Field(2_000.0, gt=0)
    slow_rate: float = Field(0.5, gt=0, le=1)
    consecutive_connection_failures: int = Field(3, ge=1)
    connection_window_s: float = Field(60.0, gt=0)
    open_s: float = Field(5.0, gt=0)
    open_max_s: float = Field(120.0, gt=0)
    half_open_s: float = Field(10.0, gt=0, description="longest wait for the probe's answer")


class WebSocketSettings(_Section):
    """The legacy side."""

    url: str = "ws://127.0.0.1:8765"
    token: SecretStr = SecretStr("")
    history_events: int = Field(
        50_000, ge=0, description="the reference hub's history, all streams together"
    )
    history_bytes: int = Field(64_000_000, ge=0, description="the same, in bytes")
    max_frame_bytes: int = Field(1_000_000, ge=1_000)
    client_buffer_bytes: int = Field(
        4_000_000, ge=10_000, description="a slower client is closed with 4429"
    )
    heads_s: float = Field(1.0, gt=0)
    origins: tuple[str, ...] = Field(
        (), description="browsers' origins that may connect; * for any; other clients always may"
    )


class SupabaseSettings(_Section):
    """The Supabase project, or the stand-in."""

    url: str = ""
    anon_key: SecretStr = SecretStr("")
    service_role_key: SecretStr = SecretStr("")
    access_token: SecretStr = SecretStr("")
    database_url: SecretStr = SecretStr("")
    timeout_s: float = Field(5.0, gt=0)


class SubscriberSettings(_Section):
    """Subscribers, Python and browser alike."""

    buffer_events: int = Field(
        10_000, ge=1, description="out-of-order events kept, all streams together"
    )
    queue_events: int = Field(
        10_000, ge=1, description="handed-over events the consumer has not taken"
    )
    hole_grace_ms: int = Field(250, ge=0)
    deaf_s: float = Field(3.0, gt=0, description="heads older than this: the transport is deaf")
    switch_timeout_s: float = Field(20.0, gt=0)
    drain_s: float = Field(2.0, ge=0)
    connect_failures: int = Field(
        3, ge=1, description="then its partitions fall back by themselves"
    )
    retry_initial_s: float = Field(0.2, gt=0)
    retry_max_s: float = Field(15.0, gt=0)
    return_initial_s: float = Field(
        5.0, gt=0, description="a fallen-back subscriber tries Realtime again within this, doubling"
    )
    return_max_s: float = Field(120.0, gt=0)
    switch_spread_s: float = Field(
        0.5, ge=0, description="moves asked for by flags start within this, at random"
    )


class TapSettings(_Section):
    """The recorder."""

    path: Path = Path("crossfade-tap.db")
    commit_s: float = Field(0.25, gt=0)


class ControlSettings(_Section):
    """The control server and how to reach it."""

    url: str = "http://127.0.0.1:8780"
    database_url: str = "sqlite:///crossfade-control.db"
    operator_token: SecretStr = SecretStr("")
    instance_token: SecretStr = SecretStr("")
    origins: tuple[str, ...] = Field(
        (), description="browsers' origins, besides its own, whose pages may call it with a token"
    )
    timeout_s: float = Field(5.0, gt=0, description="longest wait of a call besides long polls")
    live_s: float = Field(5.0, gt=0, description="an instance silent for longer is not live")
    monitor_s: float = Field(1.0, gt=0)
    telemetry_keep_s: float = Field(7 * 86_400.0, gt=0)


class Targets(_Section):
    """What a stage must show; the strategy's figures are the defaults."""

    delivery: float = Field(0.999, gt=0, le=1)
    confidence: float = Field(0.95, gt=0.5, lt=1)
    error_rate: float = Field(0.05, gt=0, le=1)
    error_for_s: float = Field(300.0, gt=0)
    p95_ms: float = Field(500.0, gt=0)
    latency_ratio: float = Field(2.0, gt=1, description="Realtime against WebSocket, same events")
    latency_for_s: float = Field(600.0, gt=0)
    latency_floor_ms: float = Field(
        100.0, ge=0, description="a Realtime p95 up to this is fine, whatever the ratio"
    )
    minimum_events: int = Field(2_999, ge=1)
    adoption: float = Field(
        0.95, gt=0, le=1, description="share of the cohort's events first delivered by Realtime"
    )
    tickets_per_week: int = Field(5, ge=0)


class StageSettings(_Section):
    """One rollout week."""

    name: str
    percent: dict[str, float] = Field(default_factory=lambda: {EVERYTHING: 100.0})
    soak_s: float = Field(7 * 86_400.0, gt=0)
    targets: Targets = Targets()

    @model_validator(mode="after")
    def _range(self) -> "StageSettings":
        for category, percent in self.percent.items():
            if not 0 <= percent <= 100:
                raise ValueError(f"percent of {category} must be 0 to 100, is {percent}")
        return self


def _three_weeks() -> tuple[StageSettings, ...]:
    shares = (("week-1", 10.0), ("week-2", 50.0), ("week-3", 100.0))
    return tuple(StageSettings(name=name, percent={EVERYTHING: share}) for name, share in shares)


class RolloutSettings(_Section):
    """The plan."""

    name: str = "rollout"
    stages: tuple[StageSettings, ...] = Field(default_factory=_three_weeks, min_length=1)
    approval_expires_s: float = Field(3 * 86_400.0, gt=0)
    stall_s: float = Field(
        86_400.0, gt=0, description="a ramp or gate without a conclusion for longer is held"
    )
    partitions: int = Field(50, ge=1, le=4_096)
    salt: str = "crossfade"

    @model_validator(mode="after")
    def _growing(self) -> "RolloutSettings":
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError("stages must have different names")
        for before, after in zip(self.stages, self.stages[1:], strict=False):
            for category in {*before.percent, *after.percent}:
                low = before.percent.get(category, before.percent.get(EVERYTHING, 0.0))
                high = after.percent.get(category, after.percent.get(EVERYTHING, 0.0))
                if high < low:
                    raise ValueError(
                        f"{after.name} lowers {category} from {low:g} % to {high:g} %: "
                        "stages only grow"
                    )
        return self


class ReconcileSettings(_Section):
    """Comparing the stores."""

    block: int = Field(256, ge=1, le=100_000)
    grace_s: float = Field(5.0, ge=0, description="younger events are in flight, not missing")
    rechecks: int = Field(3, ge=1, description="a suspect that survives these is a finding")
    recheck_s: float = Field(1.0, ge=0)
    scrub_blocks: int = Field(64, ge=0)
    exact: tuple[str, ...] = Field(
        ("critical",), description="categories in which a single discrepancy is a FAIL"
    )
    tolerance: float = Field(
        0.001, ge=0, lt=1, description="share of the others' events that may differ before a FAIL"
    )
    websocket_since: AwareDatetime | None = Field(
        None, description="the tap joined an older journal then: expect nothing earlier of it"
    )
    every_s: float = Field(300.0, gt=0, description="schedule of the validate deployment")
    state: Path = Path("crossfade-reconcile.db")


class PrefectSettings(_Section):
    """Where the flows run."""

    api_url: str = ""
    work_pool: str = "crossfade"
    report_every_s: float = Field(86_400.0, gt=0, description="schedule of the report deployment")


class StackSettings(_Section):
    """The embedded stack; a port of 0 takes a free one."""

    state: Path = Path(".crossfade")
    postgres_port: int = Field(0, ge=0, le=65_535)
    supabase_port: int = Field(0, ge=0, le=65_535)
    hub_port: int = Field(0, ge=0, le=65_535)
    control_port: int = Field(0, ge=0, le=65_535)
    prefect_port: int = Field(0, ge=0, le=65_535)
    start_timeout_s: float = Field(120.0, gt=0)
    jwt_secret: SecretStr = SecretStr("")


class Settings(_Section):
    """Everything that can be configured."""

    journal: JournalSettings = JournalSettings()
    classification: ClassificationSettings = ClassificationSettings()
    publisher: PublisherSettings = PublisherSettings()
    relay: RelaySettings = RelaySettings()
    breaker: BreakerSettings = BreakerSettings()
    websocket: WebSocketSettings = WebSocketSettings()
    supabase: SupabaseSettings = SupabaseSettings()
    subscriber: SubscriberSettings = SubscriberSettings()
    tap: TapSettings = TapSettings()
    control: ControlSettings = ControlSettings()
    rollout: RolloutSettings = Field(default_factory=RolloutSettings)
    reconcile: ReconcileSettings = ReconcileSettings()
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
