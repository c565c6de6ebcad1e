"""One typed settings object: ``crossfade.toml``, then the environment, then options.

Only entry points call ``load_settings``; everything else is handed a ``Settings`` or one
of its sections. Environment names are ``CROSSFADE_SECTION__FIELD``; Supabase's own names
(``SUPABASE_URL``, ``SUPABASE_ANON_KEY``, ``SUPABASE_SERVICE_ROLE_KEY``,
``SUPABASE_DB_URL``) are understood as well.
"""

from crossfade.settings.data_plane import (
    BreakerSettings,
    ClassificationRule,
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
from crossfade.settings.load import SETTINGS_VARIABLE, Settings, load_settings
from crossfade.settings.operation import (
    ALERTS,
    AlertSettings,
    ControlSettings,
    ExportSettings,
    PrefectSettings,
    ReconcileSettings,
    StackSettings,
)
from crossfade.settings.rollout import (
    RolloutSettings,
    StageSettings,
    Targets,
)

__all__ = [
    "ALERTS",
    "SETTINGS_VARIABLE",
    "AlertSettings",
    "BreakerSettings",
    "ClassificationRule",
    "ClassificationSettings",
    "ControlSettings",
    "ExportSettings",
    "JournalSettings",
    "LegacySettings",
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
