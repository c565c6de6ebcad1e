"""The events' way: journal, classification, publisher, relay, both transports, subscribers, tap."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, model_validator

from crossfade.core.flags import DEFAULT_CATEGORIES
from crossfade.settings.section import Section

__all__ = [
    "BreakerSettings",
    "ClassificationRule",
    "ClassificationSettings",
    "JournalSettings",
    "LegacySettings",
    "PublisherSettings",
    "RelaySettings",
    "SubscriberSettings",
    "SupabaseSettings",
    "TapSettings",
    "WebSocketSettings",
]


class JournalSettings(Section):
    """The publisher's local storage."""

    path: Path = Path("crossfade-journal.db")
    durability: Literal["fsync", "os"] = "fsync"
    linger_ms: float = Field(2.0, ge=0, le=1_000, description="longest wait to fill a group commit")
    group_events: int = Field(1_000, ge=1, le=100_000)
    queue_events: int = Field(20_000, ge=1, description="publish() waits above this")
    retention_s: float = Field(
        1_209_600.0,
        ge=0,
        description="older events are pruned once every sink has them; 0: never for their age",
    )
    retention_events: int = Field(
        0, ge=0, description="a stream's older ones are pruned likewise; 0: never for their number"
    )
    prune_s: float = Field(30.0, gt=0, description="pause between two passes of pruning")
    epoch: int | None = Field(
        None, ge=0, description="of a new journal; default: the second of its birth"
    )


class ClassificationRule(Section):
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


class ClassificationSettings(Section):
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


class PublisherSettings(Section):
    """The publisher inside the application."""

    source: str = "app"
    max_event_bytes: int = Field(65_536, ge=256, le=1_000_000)
    drain_s: float = Field(10.0, ge=0, description="longest wait of close() for what is owed")


class RelaySettings(Section):
    """From the journal to Supabase."""

    batch_events: int = Field(500, ge=1, le=5_000)
    batch_bytes: int = Field(2_000_000, ge=100_000, le=12_000_000)
    frame_limit_bytes: int = Field(200_000, ge=1_000, le=3_000_000)
    timeout_s: float = Field(5.0, gt=0)
    plan: str = Field(
        "", description='of the Supabase project (free, pro, team …); "": no quota is kept'
    )
    messages_per_s: float = Field(0.0, ge=0, description="the quota by number; 0: the plan's")
    subscribers: int = Field(
        1, ge=0, description="that receive a topic by Realtime, the tap among them; for the quota"
    )
    quota_share: float = Field(
        0.8, gt=0, le=1, description="of the quota that this publisher may use"
    )
    catch_up_events_per_s: float = Field(
        5_000.0, ge=0, description="what was kept from Supabase drains so fast; 0: without a bound"
    )
    poll_s: float = Field(
        0.03, gt=0, description="no batch to Supabase that is not full follows another sooner"
    )
    heads_s: float = Field(1.0, gt=0)
    retry_initial_s: float = Field(0.2, gt=0)
    retry_max_s: float = Field(30.0, gt=0)


class BreakerSettings(Section):
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


class WebSocketSettings(Section):
    """The legacy side."""

    url: str = "ws://127.0.0.1:8765"
    token: SecretStr = SecretStr("")
    subscriber_token: SecretStr = Field(
        SecretStr(""), description="may listen and not publish; subscribers and taps prefer it"
    )
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


class LegacySettings(Section):
    """The application's own WebSocket server with its own frames, instead of Crossfade's hub."""

    publish_url: str = Field("", description="where the publisher sends frames to")
    listen_url: str = Field("", description="where the tap is one of its clients")
    codec: str = Field("", description="module:attribute of the codec, for the tap's process")
    token: SecretStr = Field(SecretStr(""), description="sent to it as a bearer token")
    max_frame_bytes: int = Field(1_000_000, ge=1_000)


class SupabaseSettings(Section):
    """The Supabase project, or the stand-in."""

    url: str = ""
    anon_key: SecretStr = SecretStr("")
    service_role_key: SecretStr = SecretStr("")
    access_token: SecretStr = SecretStr("")
    database_url: SecretStr = SecretStr("")
    timeout_s: float = Field(5.0, gt=0)


class SubscriberSettings(Section):
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


class TapSettings(Section):
    """The recorder."""

    path: Path = Path("crossfade-tap.db")
    commit_s: float = Field(0.25, gt=0)
