"""The settings of an embedded stack: the user's own, completed with addresses and secrets.

One function, ``stack_settings``, decides every URL, path, token and key of a stack;
``write_settings`` puts it into the ``crossfade.toml`` that all its services read.
"""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, SecretStr

from crossfade.errors import SettingsError, UsageError
from crossfade.local.addresses import HOST
from crossfade.local.keys import make_keys
from crossfade.settings import Settings

__all__ = [
    "PREFECT_USER",
    "Secrets",
    "StackPaths",
    "stack_settings",
    "to_toml",
    "write_private",
    "write_settings",
]


PREFECT_USER = "crossfade"
"""What stands before the colon in the stack's login for Prefect, which knows no users."""


@dataclass(frozen=True, slots=True)
class StackPaths:
    """Where a stack keeps what; everything is under ``state``."""

    state: Path

    @property
    def settings(self) -> Path:
        return self.state / "crossfade.toml"

    @property
    def description(self) -> Path:
        """``stack.json``: what runs where (docs/protocol.md section 7)."""
        return self.state / "stack.json"

    @property
    def secrets(self) -> Path:
        return self.state / "secrets.json"

    @property
    def lock(self) -> Path:
        return self.state / "lock"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def postgres(self) -> Path:
        return self.state / "postgres"

    @property
    def prefect(self) -> Path:
        return self.state / "prefect"

    @property
    def journal(self) -> Path:
        return self.state / "journal.db"

    @property
    def tap(self) -> Path:
        return self.state / "tap.db"

    def log(self, service: str) -> Path:
        return self.logs / f"{service}.log"


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """A stack's own passwords, tokens and keys; made once per state folder."""

    postgres_password: str
    jwt_secret: str
    operator_token: str
    instance_token: str
    hub_token: str
    prefect_password: str

    @classmethod
    def keep(cls, path: Path) -> "Secrets":
        """Those of an earlier start in this folder, so that clients stay valid, or new ones.

        A secret that an earlier version did not have is added.

        Raises:
            UsageError: the file is there but can not be understood.
        """
        names = cls.__slots__
        try:
            found = orjson.loads(path.read_bytes())
            if not found.keys() & set(names):
                raise ValueError("it holds no secret of a stack")
        except FileNotFoundError:
            found = {}
        except (OSError, ValueError, AttributeError) as error:
            raise UsageError(
                f"{path}: can not be read ({error}); remove the folder to begin anew"
            ) from error
        values = {name: str(found.get(name) or secrets.token_urlsafe(32)) for name in names}
        if values != found:
            write_private(path, orjson.dumps(values))
        return cls(**values)


def stack_settings(
    base: Settings, state: Path, ports: Mapping[str, int], own: Secrets
) -> dict[str, Any]:
    """Everything of ``base`` that was set, with the stack's addresses, paths and secrets over it.

    Args:
        base: the user's settings. With ``supabase.url`` in them that project is used, and its
            keys must be there too.
        state: the stack's folder.
        ports: of ``postgres``, ``supabase``, ``hub``, ``control`` and ``prefect``.
        own: the stack's secrets.

    Raises:
        SettingsError: a Supabase project is named but a key of it is missing.
    """
    paths = StackPaths(state.resolve())
    found: dict[str, Any] = _plain(base)
    sections: dict[str, dict[str, Any]] = {
        "journal": {"path": str(paths.journal)},
        "tap": {"path": str(paths.tap)},
        "websocket": {
            "url": f"ws://{HOST}:{ports['hub']}",
            "token": own.hub_token,
            # The dashboard's pages come from the control server, by either name.
            "origins": [
                *base.websocket.origins,
                *(f"http://{name}:{ports['control']}" for name in (HOST, "localhost")),
            ],
        },
        "supabase": _supabase(base, ports, own),
        "control": {
            "url": f"http://{HOST}:{ports['control']}",
            "database_url": f"sqlite:///{paths.state / 'control.db'}",
            "operator_token": own.operator_token,
            "instance_token": own.instance_token,
        },
        "reconcile": {
            "state": str(paths.state / "reconcile.db"),
            "docs": str((base.reconcile.docs or paths.state / "data-docs").absolute()),
        },
        "prefect": {
            "api_url": f"http://{HOST}:{ports['prefect']}/api",
            "auth": f"{PREFECT_USER}:{own.prefect_password}",
        },
        "stack": {
            "state": str(paths.state),
            **{f"{name}_port": port for name, port in ports.items()},
            "jwt_secret": own.jwt_secret,
        },
    }
    for name, values in sections.items():
        found[name] = {**found.get(name, {}), **values}
    return found


def write_settings(values: Mapping[str, Any], path: Path) -> None:
    """Write settings as TOML, readable by the owner only."""
    write_private(path, to_toml(values).encode())


def write_private(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 whole: a reader sees the old content or the new, never a part."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    part.replace(path)


def to_toml(values: Mapping[str, Any]) -> str:
    """TOML of nested mappings, lists, texts, numbers and booleans (what settings consist of)."""
    return "\n".join(_table((), values)) + "\n"


def _table(place: tuple[str, ...], values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        if not isinstance(value, Mapping) and not _is_tables(value):
            yield f"{_text(key)} = {_value(value)}"
    for key, value in values.items():
        inner = (*place, _text(key))
        if isinstance(value, Mapping):
            yield f"\n[{'.'.join(inner)}]"
            yield from _table(inner, value)
        elif _is_tables(value):
            for item in value:
                yield f"\n[[{'.'.join(inner)}]]"
                yield from _table(inner, item)


def _is_tables(value: Any) -> bool:
    return (
        isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)
    )


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return _text(str(value))


def _text(value: str) -> str:
    # A JSON string without \u escapes of surrogates is a TOML basic string, but for U+007F.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _supabase(base: Settings, ports: Mapping[str, int], own: Secrets) -> dict[str, Any]:
    section = base.supabase
    if section.url:
        faults = [
            f"supabase.{name}: needed with supabase.url (or set {variable})"
            for name, variable in (
                ("anon_key", "SUPABASE_ANON_KEY"),
                ("service_role_key", "SUPABASE_SERVICE_ROLE_KEY"),
            )
            if not getattr(section, name).get_secret_value()
        ]
        if faults:
            raise SettingsError(faults)
        return {}
    keys = make_keys(own.jwt_secret)
    database = f"postgresql://postgres:{own.postgres_password}@{HOST}:{ports['postgres']}/postgres"
    return {
        "url": f"http://{HOST}:{ports['supabase']}",
        "anon_key": keys.anon,
        "service_role_key": keys.service_role,
        "database_url": database,
    }


def _plain(value: Any) -> Any:
    """What was set in a settings object, as values that TOML knows; secrets in clear."""
    if isinstance(value, BaseModel):
        return {
            name: _plain(getattr(value, name))
            for name in type(value).model_fields
            if name in value.model_fields_set and getattr(value, name) is not None
        }
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
