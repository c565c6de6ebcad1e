"""Where flow runs find their settings: the file that ``CROSSFADE_SETTINGS`` names.

The one place of ``flows`` and ``tasks`` that reads the environment. Without the variable
it is ``crossfade.toml`` in the run's working folder, and without that the defaults and the
environment's ``CROSSFADE_SECTION__FIELD``.
"""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from crossfade.settings import SETTINGS_VARIABLE, Settings, load_settings

__all__ = ["settings", "settings_folder"]

_PATHS = (
    ("journal", "path"),
    ("tap", "path"),
    ("reconcile", "state"),
    ("reconcile", "docs"),
    ("prefect", "bundles"),
)


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this run, read once per process.

    A store's relative path is relative to the settings file's folder: a flow run has a
    working folder of its own, which says nothing about where the stores are.

    Raises:
        SettingsError: the file is not there or does not validate.
    """
    named = os.environ.get(SETTINGS_VARIABLE)
    found = load_settings(Path(named) if named else None, os.environ)
    folder = settings_folder()
    changes: dict[str, Any] = {}
    for section, field in _PATHS:
        part = changes.get(section, getattr(found, section))
        path: Path | None = getattr(part, field)
        if path is not None:
            changes[section] = part.model_copy(update={field: folder / path})
    return found.model_copy(update=changes)


def settings_folder() -> Path:
    """The folder of the settings file; in the embedded stack also that of its logs."""
    return Path(os.environ.get(SETTINGS_VARIABLE) or "crossfade.toml").absolute().parent
