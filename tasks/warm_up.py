"""What a warm process (``crossfade.local.warm``) does for flow runs."""

import contextlib
import importlib

from prefect.context import refresh_global_settings_context
from tqdm import tqdm

__all__ = ["in_child", "preload"]

ENGINE = ("prefect._internal.metrics", "prefect.flow_engine")
"""What Prefect's engine imports when a run begins."""


def preload() -> None:
    """Import what runs import late, Great Expectations above all."""
    for name in ENGINE:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    # Great Expectations' progress bars would start tqdm's thread, and nothing can be forked
    # beside another thread (crossfade.local.warm).
    tqdm.monitor_interval = 0
    importlib.import_module("expectations").preload()


def in_child() -> None:
    """Read Prefect's settings again, from the run's own environment."""
    refresh_global_settings_context()
