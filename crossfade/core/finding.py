"""One line of a check: what was found, how bad that is, and what to do about it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from crossfade.core.verdict import Measurement, Verdict

__all__ = ["Finding", "Level", "exit_status", "green", "list_or_green", "red"]


class Level(StrEnum):
    """Green: go. Amber: know it. Red: do not start a rollout."""

    GREEN = "green"
    AMBER = "amber"
    RED = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line: what was looked at, what was found, and (unless green) what to do.

    ``broken`` marks a check that could not be made. ``value`` and ``unit`` are set where there
    is a figure.
    """

    name: str
    level: Level
    detail: str
    action: str = ""
    value: float | None = None
    unit: str = ""
    broken: bool = False

    def to_json(self) -> dict[str, Any]:
        """The line as JSON values."""
        return {
            "name": self.name,
            "level": self.level.value,
            "detail": self.detail,
            "action": self.action,
            "value": self.value,
            "unit": self.unit,
        }

    def to_measurement(self) -> Measurement:
        """The line as a gate's measurement: amber passes, what could not be looked at is ERROR."""
        red = self.level is Level.RED
        verdict = Verdict.ERROR if self.broken else Verdict.FAIL if red else Verdict.PASS
        return Measurement(
            name=self.name,
            value=0.0 if red else 1.0,
            limit=1.0,
            n=1,
            unit="",
            verdict=verdict,
            relation="==",
            detail=f"{self.detail}: {self.action}" if red and self.action else self.detail,
        )


def exit_status(findings: Iterable[Finding]) -> int:
    """0 when nothing is red, else 1."""
    return int(any(one.level is Level.RED for one in findings))


def green(name: str, detail: str, value: float | None = None, unit: str = "") -> Finding:
    """Something that is as it should be."""
    return Finding(name=name, level=Level.GREEN, detail=detail, value=value, unit=unit)


def red(name: str, detail: str, action: str, *, broken: bool = False) -> Finding:
    """Something that keeps a rollout from starting."""
    return Finding(name=name, level=Level.RED, detail=detail, action=action, broken=broken)


def list_or_green(name: str, wrong: Sequence[str], fine: str, fault: str, action: str) -> Finding:
    """Red with the names of what is wrong (the first five), else green."""
    if not wrong:
        return green(name, fine)
    more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    named = ", ".join(wrong[:5]) + more
    return red(name, f"{fault}: {named}", action)
