"""Requests to a journal's publisher, as files in a folder beside the journal.

Only the publisher writes the journal, so whoever wants something of it leaves a request; it is
answered within a second or two, or when the next publisher opens the journal. Files are
written under another name first and then renamed, so that nobody reads half of one.
"""

import os
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson

from crossfade.errors import JournalUnavailable

__all__ = ["RequestFolder"]

MAX_BYTES = 1_000_000
KEPT_ANSWERS = 100


class RequestFolder:
    """``<journal>.requests``. Blocking calls; every error of the folder is JournalUnavailable."""

    def __init__(self, journal: Path) -> None:
        self.path = journal.with_name(journal.name + ".requests")

    def put(self, request: dict[str, Any]) -> str:
        """Leave a request; answers its name."""
        name = f"{time.time_ns():020d}-{uuid4().hex[:8]}"
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
            self._write(f"{name}.request", request)
        except OSError as error:
            raise JournalUnavailable(f"{self.path}: {error.strerror}") from error
        return name

    def pending(self) -> list[tuple[str, dict[str, Any]]]:
        """Requests without an answer, oldest first; one that can not be read is answered here."""
        try:
            names = sorted(one.stem for one in self.path.glob("*.request"))
        except OSError as error:
            raise JournalUnavailable(f"{self.path}: {error.strerror}") from error
        found = []
        for name in names:
            value = self._read(f"{name}.request")
            if isinstance(value, dict):
                found.append((name, value))
            else:
                self.answer(name, {"error": "the request can not be read"})
        return found

    def answer(self, name: str, answer: dict[str, Any]) -> None:
        """Answer a request; the oldest answers are thrown away."""
        try:
            self._write(f"{name}.answer", answer)
            (self.path / f"{name}.request").unlink(missing_ok=True)
            for old in sorted(self.path.glob("*.answer"))[:-KEPT_ANSWERS]:
                old.unlink(missing_ok=True)
        except OSError as error:
            raise JournalUnavailable(f"{self.path}: {error.strerror}") from error

    def answered(self, name: str) -> dict[str, Any] | None:
        """The answer to a request; None as long as there is none."""
        value = self._read(f"{name}.answer")
        return value if isinstance(value, dict) else None

    def _write(self, name: str, value: dict[str, Any]) -> None:
        draft = self.path / f".{name}"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(orjson.dumps(value))
        draft.rename(self.path / name)

    def _read(self, name: str) -> Any:
        try:
            with (self.path / name).open("rb") as file:
                return orjson.loads(file.read(MAX_BYTES))
        except (OSError, orjson.JSONDecodeError):
            return None
