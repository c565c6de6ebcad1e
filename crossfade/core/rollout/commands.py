"""The verbs that change a rollout, and the facts that a change leaves behind.

A command carries everything that ``apply`` needs to judge it: the control server adds what
only it can know (evidence as it is now, which instances follow) before applying.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from crossfade.core.evidence import Evidence
from crossfade.core.verdict import Measurement
from crossfade.errors import UsageError

__all__ = [
    "DECISIONS",
    "MAX_TEXT",
    "Applied",
    "Approve",
    "Begin",
    "Breach",
    "Cancel",
    "Command",
    "Complete",
    "CutOver",
    "Decommission",
    "DrillArrived",
    "DrillStart",
    "Extend",
    "Fact",
    "Hold",
    "Preflight",
    "Reconciled",
    "Reject",
    "Resume",
    "Rollback",
    "RolledBack",
    "Soaked",
    "command_from_json",
]

DECISIONS = ("approve", "reject", "extend", "resume")
"""The verbs by which a person decides how a stage goes on: what an approver's token may give."""

MAX_TEXT = 4_000
"""Longest reason, comment, root cause or name that a command may hold, in characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What every command says: who gives it, and which stage and attempt it is meant for.

    A command for another stage or attempt is refused, never applied to the current one.
    Only ``Rollback`` may leave both None: a person in an emergency means whatever runs.
    """

    actor: str
    stage: int | None
    attempt: int | None

    @property
    def verb(self) -> str:
        """The command's name in the protocol."""
        return _VERBS[type(self)]

    def to_json(self) -> dict[str, Any]:
        """The command as JSON values, for the audit log; evidence appears as its hash."""
        body: dict[str, Any] = {"verb": self.verb}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, Evidence):
                value = value.hash
            elif isinstance(value, tuple):
                value = [
                    item.to_json() if isinstance(item, Measurement) else item for item in value
                ]
            body[one.name] = value
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin(Command):
    """ready → preflight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight(Command):
    """preflight → ramping (and the flags rise) when every check passed, else → held."""

    checks: tuple[Measurement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied(Command):
    """ramping → soaking, once every live instance reports the flags (``evidence``)."""

    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Soaked(Command):
    """soaking → reconciling, once the soak has passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled(Command):
    """The gate's reconciliation is stored: → awaiting_approval, rolling_back or held.

    ``began_us`` is when that reconciliation began; None when the server does not know it.
    """

    reconciliation: str
    began_us: int | None = None
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Approve(Command):
    """A person lets the evidence named by its hash pass: exactly one stage further (I8)."""

    evidence_hash: str
    approver: str
    comment: str = ""
    tickets: int = 0
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject(Command):
    """awaiting_approval → held."""

    approver: str
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extend(Command):
    """awaiting_approval → soaking for ``soak_s`` seconds more."""

    soak_s: float
    approver: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach(Command):
    """A guardrail is broken: everything is taken back at once."""

    reason: str
    measurements: tuple[Measurement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback(Command):
    """A person takes back ``scope`` (categories; None is everything) to ``to`` percent."""

    reason: str
    scope: tuple[str, ...] | None = None
    to: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack(Command):
    """rolling_back → rolled_back: every instance is verified to be back.

    ``since_us`` is the rollout's ``since_us`` of the rollback that was verified: one that was
    widened meanwhile is another.
    """

    figures: Mapping[str, Any] = field(default_factory=dict)
    since_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold(Command):
    """Any phase of a stage → held: a stall, an expiry, or somebody who wants to look first."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume(Command):
    """rolled_back or held → ready, as a new attempt, once cause and fix are recorded."""

    root_cause: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel(Command):
    """Ends a rollout that serves nobody, so that another plan may start."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete(Command):
    """Confirms that the last stage was approved; changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillStart(Command):
    """Takes ``points`` percentage points (None: the plan's) of ``scope`` back, on purpose.

    ready, soaking, completed or cut_over → drilling.
    """

    scope: tuple[str, ...] | None = None
    points: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillArrived(Command):
    """Every live instance follows the drill's flags (``evidence``).

    The first time everybody is back, and the flags rise again; the second time everybody is
    forward again, and the rollout is where it was.
    """

    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CutOver(Command):
    """completed → cut_over: Realtime is primary for everything; WebSocket runs on beside it.

    ``confirm`` is the rollout's name, typed.
    """

    confirm: str
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decommission(Command):
    """cut_over → decommissioned: WebSocket is switched off, and nothing goes back.

    ``confirm`` is the rollout's name, typed.
    """

    confirm: str
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that a command made true: ``kind`` and its particulars, as JSON values.

    Kinds: ``started``, ``phase`` (from, to), ``flags`` (served, written), ``evidence``
    (hash), ``approved``, ``rejected``, ``incident_opened``, ``incident_changed``,
    ``incident_closed``, ``drilled``, ``event`` (name, payload: to be sent to Prefect).
    """

    kind: str
    detail: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The fact as JSON values."""
        return asdict(self)


_COMMANDS: Mapping[str, type[Command]] = {
    "begin": Begin,
    "preflight": Preflight,
    "applied": Applied,
    "soaked": Soaked,
    "reconciled": Reconciled,
    "approve": Approve,
    "reject": Reject,
    "extend": Extend,
    "breach": Breach,
    "rollback": Rollback,
    "rolled_back": RolledBack,
    "hold": Hold,
    "resume": Resume,
    "cancel": Cancel,
    "complete": Complete,
    "drill": DrillStart,
    "drill_arrived": DrillArrived,
    "cut_over": CutOver,
    "decommission": Decommission,
}
_VERBS = {kind: verb for verb, kind in _COMMANDS.items()}


def command_from_json(value: Mapping[str, Any]) -> Command:
    """Read a command as it is posted; what the server adds is left None.

    Raises:
        UsageError: an unknown verb, or a field that is missing, unknown or of another type.
    """
    body = dict(value)
    verb = body.pop("verb", None)
    kind = _COMMANDS.get(verb) if isinstance(verb, str) else None
    if kind is None:
        raise UsageError(f"verb: {verb!r} is none of {', '.join(_COMMANDS)}")
    body.setdefault("stage", None)
    body.setdefault("attempt", None)
    expected = {one.name for one in fields(kind)} - _SERVER_SIDE
    unknown = sorted(set(body) - expected)
    if unknown:
        raise UsageError(f"{verb}: unknown field {', '.join(unknown)}")
    try:
        known = {name: _READERS[name](body[name]) for name in body}
        return kind(**known)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{verb}: {error}") from error


_SERVER_SIDE = {"evidence", "began_us"}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    if len(value) > MAX_TEXT:
        raise ValueError(f"{len(value)} characters, at most {MAX_TEXT} are allowed")
    return value.strip()


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def _measurements(value: Any) -> tuple[Measurement, ...]:
    if not isinstance(value, list) or len(value) > 1_000:
        raise TypeError("measurements must be a list of at most 1,000")
    return tuple(Measurement.from_json(one) for one in value)


def _scope(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value:
        raise TypeError("scope must be null or a list of categories")
    return tuple(_text(one) for one in value)


def _figures(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError("figures must be an object")
    return value


def _optional(reader: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else reader(value)


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "actor": _text,
    "stage": _optional(_whole),
    "attempt": _optional(_whole),
    "checks": _measurements,
    "measurements": _measurements,
    "reconciliation": _text,
    "evidence_hash": _text,
    "approver": _text,
    "comment": _text,
    "tickets": _whole,
    "soak_s": _number,
    "reason": _text,
    "scope": _scope,
    "to": _number,
    "figures": _figures,
    "since_us": _optional(_whole),
    "root_cause": _text,
    "fix": _text,
    "points": _optional(_number),
    "confirm": _text,
}
