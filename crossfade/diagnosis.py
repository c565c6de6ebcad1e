"""An incident's diagnosis bundle: everything a person needs to find the cause, in one folder."""

import platform
import zipfile
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, SecretStr

from crossfade.adapters.control import ControlClient
from crossfade.core.incident import BEFORE_US, find_incident, timeline, timeline_page
from crossfade.core.telemetry_totals import Window
from crossfade.errors import UsageError
from crossfade.settings import Settings

__all__ = ["collect", "keep_bundle", "stack_logs", "write_bundle"]

LOG_BYTES = 500_000
"""How much of the end of each log is taken."""

_AFTER_US = 900_000_000
_ROWS = 10_000
_RECONCILIATIONS = 200
_PACKAGES = (
    "crossfade",
    "great-expectations",
    "prefect",
    "psycopg",
    "pydantic",
    "sqlalchemy",
    "supabase",
    "websockets",
)


async def collect(
    client: ControlClient, settings: Settings, name: str, logs: Mapping[str, Path]
) -> dict[str, bytes]:
    """The bundle's files by name.

    ``timeline.md`` and ``.json``, ``incident.json``, ``rollout.json``, ``status.json`` (as of
    now), ``telemetry.json``, ``reconciliations.json``, ``discrepancies.json``, ``audit.json``,
    ``settings.json``, ``versions.json`` and the end of each log. Secrets of the settings are
    masked wherever they might stand.

    Args:
        name: the incident's id, or its number within its rollout.
        logs: files by the name of the part that writes them; those that are missing are
            left out.

    Raises:
        UsageError: there is no such incident.
    """
    incidents = await client.incidents(_ROWS)
    incident = find_incident(incidents, name)
    if incident is None:
        known = ", ".join(str(one["id"]) for one in incidents[:5]) or "none"
        raise UsageError(f"there is no incident {name}; the newest are: {known}")
    status = await client.status()
    from_us = int(incident["opened_us"]) - BEFORE_US
    until_us = int(incident["closed_us"] or status["at_us"]) + _AFTER_US
    rows = [row for row in await client.telemetry(from_us, _ROWS) if row["from_us"] <= until_us]
    results = [
        one
        for one in await client.reconciliations(_RECONCILIATIONS)
        if from_us <= one["stored_us"] <= until_us
    ]
    audit = [row for row in await _audit(client) if from_us <= row["at_us"] <= until_us]
    story = timeline(
        incident, audit, [Window.from_json(row) for row in rows], results, int(status["at_us"])
    )
    documents: dict[str, Any] = {
        "incident.json": incident,
        "timeline.json": [entry.to_json() for entry in story],
        "rollout.json": status["rollout"],
        "status.json": status,
        "telemetry.json": rows,
        "reconciliations.json": results,
        "discrepancies.json": [each for one in results for each in one.get("discrepancies", ())],
        "audit.json": audit,
        "settings.json": settings.model_dump(mode="json"),
        "versions.json": _versions(),
    }
    found = {
        name: orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
        for name, value in documents.items()
    }
    found["timeline.md"] = timeline_page(incident, story).encode()
    for part, path in logs.items():
        text = _tail(path)
        if text is not None:
            found[f"logs/{part}.log"] = text
    secrets = [one.encode() for one in _secrets(settings)]
    return {name: _masked(content, secrets) for name, content in found.items()}


def write_bundle(files: Mapping[str, bytes], target: Path) -> None:
    """Write the files into a folder, or into one file when ``target`` ends in ``.zip``.

    Raises:
        UsageError: it exists already, or can not be written.
    """
    if target.exists() and (target.suffix == ".zip" or any(target.iterdir())):
        raise UsageError(f"{target}: exists already; name another")
    try:
        if target.suffix == ".zip":
            target.parent.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(target, "x", zipfile.ZIP_DEFLATED) as archive:
                for name, content in sorted(files.items()):
                    archive.writestr(f"{target.stem.lstrip('.')}/{name}", content)
            return
        for name, content in files.items():
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        raise UsageError(f"{target}: {error.strerror}") from error


def keep_bundle(files: Mapping[str, bytes], folder: Path, incident: str) -> Path:
    """Write ``<incident>.zip`` into ``folder``, in the place of an earlier one; its path.

    Raises:
        UsageError: it can not be written.
    """
    target = folder / f"{incident}.zip"
    new = target.with_name(f".{incident}.zip")
    try:
        new.unlink(missing_ok=True)
        write_bundle(files, new)
        new.replace(target)
    except OSError as error:
        raise UsageError(f"{target}: {error.strerror}") from error
    return target


def stack_logs(state: Path) -> Mapping[str, Path]:
    """The logs of the embedded stack that runs from the folder ``state``; none without one."""
    try:
        document = orjson.loads((state / "stack.json").read_bytes())
        return {name: Path(one["log"]) for name, one in document["services"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


async def _audit(client: ControlClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        rows = await client.audit(after=found[-1]["id"] if found else 0, limit=_ROWS)
        found += rows
        if len(rows) < _ROWS:
            return found


def _tail(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - LOG_BYTES))
            return file.read()
    except OSError:
        return None


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "system": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _secrets(section: BaseModel) -> Iterable[str]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, BaseModel):
                yield from _secrets(one)
            elif isinstance(one, SecretStr) and len(one.get_secret_value()) >= 4:
                yield one.get_secret_value()


def _masked(content: bytes, secrets: Iterable[bytes]) -> bytes:
    for secret in secrets:
        content = content.replace(secret, b"********")
    return content
