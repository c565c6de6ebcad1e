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

__all__ = ["settings"]

_PATHS = (("journal", "path"), ("tap", "path"), ("reconcile", "state"))


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this run, read once per process.

    A store's relative path is relative to the settings file's folder: a flow run has a
    working folder of its own, which says nothing about where the stores are.

    Raises:
        SettingsError: the file is not there or does not validate.
    """
    named = os.environ.get(SETTINGS_VARIABLE)
    file = Path(named) if named else None
    found = load_settings(file, os.environ)
    folder = (file or Path("crossfade.toml")).absolute().parent
    changes: dict[str, Any] = {}
    for section, field in _PATHS:
        part = changes.get(section, getattr(found, section))
        path: Path = getattr(part, field)
        changes[section] = part.model_copy(update={field: folder / path})
    return found.model_copy(update=changes)
