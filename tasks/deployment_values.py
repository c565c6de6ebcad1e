"""A build step of ``prefect.yaml``: what a deployment takes from the settings."""

from typing import Any

from tasks.settings_source import settings

__all__ = ["from_settings"]


def from_settings() -> dict[str, Any]:
    """Values for ``{{ … }}`` in ``prefect.yaml``: the schedules' intervals, in seconds."""
    found = settings()
    return {
        "validate_every_s": found.reconcile.every_s,
        "report_every_s": found.prefect.report_every_s,
    }
