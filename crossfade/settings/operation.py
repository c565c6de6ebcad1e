"""What runs beside the events' way: control server, reconciliation, Prefect, embedded stack."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, Field, SecretStr, field_validator, model_validator

from crossfade.settings.section import Section

__all__ = [
    "ALERTS",
    "AlertSettings",
    "ControlSettings",
    "ExportSettings",
    "PrefectSettings",
    "ReconcileSettings",
    "StackSettings",
]


class ControlSettings(Section):
    """The control server and how to reach it."""

    url: str = "http://127.0.0.1:8780"
    database_url: str = "sqlite:///crossfade-control.db"
    operator_token: SecretStr = SecretStr("")
    approver_token: SecretStr = Field(
        SecretStr(""), description="may only look, approve, reject, extend and resume"
    )
    instance_token: SecretStr = SecretStr("")
    origins: tuple[str, ...] = Field(
        (), description="browsers' origins, besides its own, whose pages may call it with a token"
    )
    timeout_s: float = Field(5.0, gt=0, description="longest wait of a call besides long polls")
    live_s: float = Field(5.0, gt=0, description="an instance silent for longer is not live")
    monitor_s: float = Field(1.0, gt=0)
    telemetry_keep_s: float = Field(7 * 86_400.0, gt=0)


ALERTS = (
    "breach",
    "rollback_requested",
    "rollback_widened",
    "rolled_back",
    "held",
    "approval_wanted",
    "approval_expired",
    "promoted",
    "completed",
    "cut_over",
    "decommissioned",
)
"""What can be told."""


class AlertSettings(Section):
    """Who is told when something happens to the rollout."""

    urls: tuple[SecretStr, ...] = Field(
        (), max_length=20, description="webhooks (http, https: JSON with a text), or Apprise's URLs"
    )
    events: tuple[str, ...] = Field(ALERTS, description="of those that can be told")
    timeout_s: float = Field(10.0, gt=0, le=60)

    @field_validator("urls", "events", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        # From the environment it is one text.
        return tuple(value.split()) if isinstance(value, str) else value

    @field_validator("events")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [one for one in value if one not in ALERTS]
        if unknown:
            raise ValueError(f"no alert {', '.join(unknown)}; there are {', '.join(ALERTS)}")
        return value


class ReconcileSettings(Section):
    """Comparing the stores."""

    block: int = Field(256, ge=1, le=100_000)
    grace_s: float = Field(5.0, ge=0, description="younger events are in flight, not missing")
    rechecks: int = Field(3, ge=1, description="a suspect that survives these is a finding")
    recheck_s: float = Field(1.0, ge=0)
    scrub_blocks: int = Field(
        64, ge=0, description="sealed blocks whose content a validation reads again"
    )
    scrub_on_demand: int = Field(
        4, ge=0, description="the same of `crossfade reconcile`; raise it where nothing validates"
    )
    exact: tuple[str, ...] = Field(
        ("critical",), description="categories in which a single discrepancy is a FAIL"
    )
    tolerance: float = Field(
        0.001, ge=0, lt=1, description="share of the others' events that may differ before a FAIL"
    )
    tolerances: dict[str, Annotated[float, Field(ge=0, lt=1)]] = Field(
        default_factory=dict, description="the same for single categories, by name"
    )
    websocket_since: AwareDatetime | None = Field(
        None, description="the tap joined an older journal then: expect nothing earlier of it"
    )
    docs: Path | None = Field(
        None, description="folder for Great Expectations' pages, which the control server shows"
    )
    every_s: float = Field(300.0, gt=0, description="schedule of the validate deployment")
    state: Path = Path("crossfade-reconcile.db")
    journals: str = Field(
        "", description="URL of exported journals to read in place of journal.path"
    )
    journals_age_s: float = Field(900.0, gt=0, description="with an older export nothing is proven")

    @model_validator(mode="after")
    def _exact_means_exact(self) -> Self:
        both = [name for name in self.tolerances if name in self.exact]
        if both:
            raise ValueError(f"{', '.join(both)}: in exact, which allows for no tolerance")
        return self


class ExportSettings(Section):
    """Exporting the journal for a reconciliation on another host (``crossfade journal export``)."""

    url: str = Field("", description="a folder, or an fsspec URL such as s3://bucket/prefix")
    every_s: float = Field(60.0, gt=0, description="pause between two exports with --watch")
    segment_events: int = Field(50_000, ge=1, le=1_000_000)


class PrefectSettings(Section):
    """Where the flows run."""

    api_url: str = ""
    auth: SecretStr = Field(
        SecretStr(""),
        description="user:password of a server with PREFECT_SERVER_API_AUTH_STRING; "
        "an API key of Prefect Cloud",
    )
    work_pool: str = "crossfade"
    runner: Literal["threads", "dask"] = Field(
        "threads", description="who hashes blocks in bulk: threads of the flow run, or Dask"
    )
    workers: int = Field(4, ge=1, le=64, description="of the threads, or of a local Dask cluster")
    dask_address: str = Field("", description="of a Dask scheduler; without it a cluster is made")
    report_every_s: float = Field(86_400.0, gt=0, description="schedule of the report deployment")
    notify: tuple[Annotated[str, Field(pattern=r"^[a-z0-9-]+/.+")], ...] = Field(
        (),
        max_length=20,
        description="Prefect's notification blocks (type/name) that its automations tell of "
        "alerts.events",
    )
    bundles: Path = Field(
        Path("incidents"), description="folder for the diagnosis bundle that a rollback writes"
    )

    @field_validator("notify", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        # From the environment it is one text.
        return tuple(value.split()) if isinstance(value, str) else value


class StackSettings(Section):
    """The embedded stack; a port of 0 takes a free one."""

    state: Path = Path(".crossfade")
    postgres_port: int = Field(0, ge=0, le=65_535)
    supabase_port: int = Field(0, ge=0, le=65_535)
    hub_port: int = Field(0, ge=0, le=65_535)
    control_port: int = Field(0, ge=0, le=65_535)
    prefect_port: int = Field(0, ge=0, le=65_535)
    start_timeout_s: float = Field(180.0, gt=0)
    jwt_secret: SecretStr = SecretStr("")
