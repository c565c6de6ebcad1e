"""The control server's client (docs/protocol.md, section 6)."""

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

import httpx
import orjson
import structlog

from crossfade.core.flags import Flags
from crossfade.core.telemetry import Report
from crossfade.errors import (
    ApprovalRefused,
    ControlDenied,
    ControlUnavailable,
    Refused,
    UsageError,
    VersionConflict,
)
from crossfade.settings import ControlSettings

__all__ = ["MAX_WAIT_S", "ControlClient", "Role"]

MAX_WAIT_S = 30.0
"""Longest long poll that the server grants, in seconds."""

_CONFLICTS: Mapping[str, type[Refused]] = {
    "approval_refused": ApprovalRefused,
    "version_conflict": VersionConflict,
}
_log = structlog.get_logger("crossfade.control")

Role = Literal["operator", "approver", "instance"]
"""Whose token a client sends."""


class ControlClient:
    """Calls the control server; implements ``ports.Reporter``.

    An async context manager (or call ``close()``). Every method raises:

    * ``ControlUnavailable``: no answer within ``settings.timeout_s``, or a 5xx. Whether a
      command took effect is then unknown; repeating it is harmless (each names its stage
      and attempt).
    * ``ControlDenied``: the token is missing, wrong, or not enough for the call.
    * ``UsageError``: the server does not accept the request as it is (400, 404).

    Answers are the JSON documents of the protocol page, as Python values.

    Raises (the constructor):
        UsageError: ``settings.url`` is no URL.

    Args:
        settings: the server's URL, tokens and time-out.
        role: whose token is sent: ``operator`` for everything, ``approver`` to decide,
            ``instance`` for flags and telemetry only. Who has only one of the first two
            tokens is sent with that.
        transport: for tests.
    """

    def __init__(
        self,
        settings: ControlSettings,
        role: Role = "instance",
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        secret = _secret(settings, role)
        self._url = settings.url.rstrip("/")
        self._timeout_s = settings.timeout_s
        try:
            self._http = httpx.AsyncClient(
                base_url=self._url + "/v1",
                headers={"Authorization": f"Bearer {secret}"} if secret else {},
                timeout=settings.timeout_s,
                limits=httpx.Limits(max_connections=8),
                transport=transport,
                # A proxy of the environment is for the outside world, not for the control server.
                trust_env=False,
            )
        except httpx.InvalidURL as error:
            raise UsageError(f"control.url: {self._url!r} is no URL: {error}") from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def flags(self, after: int = -1, wait_s: float = 0.0) -> Flags:
        """The flags; waits up to ``wait_s`` seconds (≤ 30) for a version above ``after``.

        When none comes, the flags in force are returned, whatever their version.
        """
        wait_s = min(max(wait_s, 0.0), MAX_WAIT_S)
        answer = await self._call(
            "GET",
            "/flags",
            params={"after": after, "wait_s": wait_s},
            timeout_s=self._timeout_s + wait_s,
        )
        try:
            return Flags.from_json(answer)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ControlUnavailable(f"{self._url}: flags can not be read: {error!r}") from error

    async def report(self, report: Report) -> None:
        """Send one report; nothing waits for it and nothing repeats it."""
        await self._call("POST", "/telemetry", body=report.to_json())

    async def status(self) -> dict[str, Any]:
        """Everything ``crossfade status`` shows."""
        return await self._object("GET", "/status")

    async def rollout(self) -> dict[str, Any] | None:
        """The active rollout, or the last one, or None."""
        answer = await self._call("GET", "/rollout")
        return None if answer is None else dict(answer)

    async def start(self, name: str, plan: Mapping[str, Any], actor: str) -> dict[str, Any]:
        """Start a rollout of ``plan`` (``settings.rollout`` as JSON values).

        Raises:
            Refused: another rollout is active.
        """
        body = {"name": name, "plan": dict(plan), "actor": actor}
        return await self._object("POST", "/rollout", body=body)

    async def decision(self, stage: int, attempt: int | None = None) -> dict[str, Any]:
        """What the flow of ``stage`` (from 0) should do next; the server evaluates now.

        With ``attempt`` a flow of an earlier attempt is told ``stopped``.
        """
        params: dict[str, int] = {"stage": stage}
        if attempt is not None:
            params["attempt"] = attempt
        return await self._object("GET", "/rollout/decision", params=params)

    async def command(
        self,
        verb: str,
        *,
        actor: str,
        stage: int | None = None,
        attempt: int | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """Give a command and return the rollout after it.

        Only ``rollback`` may leave out stage and attempt: it then means whatever runs now.

        Raises:
            Refused: the rollout does not allow it now (the message says why).
            ApprovalRefused: an approval that does not bind.
            VersionConflict: the rollout kept moving: read it again.
        """
        body = {"verb": verb, "actor": actor, "stage": stage, "attempt": attempt, **fields}
        return await self._object("POST", "/rollout/commands", body=body)

    async def preview(
        self, verb: str, *, actor: str, stage: int | None, attempt: int | None, **fields: Any
    ) -> dict[str, Any]:
        """What a command would do, without doing it: ``{"rollout", "facts"}``.

        Raises:
            Refused: the rollout would not allow it now (the message says why).
        """
        body = {"verb": verb, "actor": actor, "stage": stage, "attempt": attempt, **fields}
        return await self._object("POST", "/rollout/preview", body=body)

    async def set_breaker(self, sink: str, mode: str, reason: str, actor: str) -> dict[str, Any]:
        """Put a sink's breakers into a mode by hand; answers ``{"version", "breakers"}``.

        Raises:
            UsageError: no such sink or mode, or no reason.
        """
        body = {"sink": sink, "mode": mode, "reason": reason, "actor": actor}
        return await self._object("POST", "/breakers", body=body)

    async def accept_gaps(self, gaps: Sequence[Mapping[str, Any]]) -> int:
        """Put accepted gaps (``core.gaps``) into the audit; how many of them were new.

        Raises:
            UsageError: one is not of the form, or names nobody or no reason.
        """
        answer = await self._object("POST", "/gaps", body={"gaps": [dict(one) for one in gaps]})
        return int(answer["new"])

    async def reconciliation(self, result: Mapping[str, Any]) -> str:
        """Store a reconciliation's result and return its hash."""
        answer = await self._object("POST", "/reconciliations", body=dict(result))
        return str(answer["hash"])

    async def reconciliations(self, limit: int = 20) -> list[dict[str, Any]]:
        """The last results, newest first, each with ``hash`` and ``stored_us``."""
        return await self._rows("/reconciliations", {"limit": limit})

    async def audit(self, after: int = 0, limit: int = 100) -> list[dict[str, Any]]:
        """Audit rows with an id above ``after``, oldest first."""
        return await self._rows("/audit", {"after": after, "limit": limit})

    async def incidents(self, limit: int = 100) -> list[dict[str, Any]]:
        """Incidents, newest first."""
        return await self._rows("/incidents", {"limit": limit})

    async def telemetry(self, since_us: int = 0, limit: int = 1_000) -> list[dict[str, Any]]:
        """Telemetry windows that ended after ``since_us``, oldest first."""
        return await self._rows("/telemetry", {"since_us": since_us, "limit": limit})

    async def _rows(self, path: str, params: Mapping[str, int]) -> list[dict[str, Any]]:
        answer = await self._call("GET", path, params=params)
        if not isinstance(answer, list):
            raise ControlUnavailable(f"{self._url}{path}: the answer is not a list")
        return answer

    async def _object(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        answer = await self._call(method, path, params=params, body=body)
        if not isinstance(answer, dict):
            raise ControlUnavailable(f"{self._url}{path}: the answer is not an object")
        return answer

    async def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        content = None if body is None else orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS)
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            # httpx's own time-outs are per read; this one is for the whole call.
            async with asyncio.timeout(timeout_s):
                response = await self._http.request(
                    method,
                    path,
                    params=params,
                    content=content,
                    headers=headers,
                    timeout=timeout_s,
                )
            value = orjson.loads(response.content) if response.content else None
        except (httpx.TimeoutException, TimeoutError) as error:
            raise ControlUnavailable(
                f"control server {self._url} did not answer within {timeout_s:g} s"
            ) from error
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise ControlUnavailable(f"control server {self._url}: {reason}") from error
        except orjson.JSONDecodeError as error:
            raise ControlUnavailable(
                f"control server {self._url} answered {response.status_code} without JSON"
            ) from error
        if response.is_success:
            return value
        raise self._translated(response.status_code, value)

    def _translated(self, status: int, value: Any) -> Exception:
        fields = value if isinstance(value, dict) else {}
        reason = str(fields.get("error") or f"status {status}")
        if status == 409:
            return _CONFLICTS.get(str(fields.get("code")), Refused)(reason)
        if status in (401, 403):
            return ControlDenied(f"control server {self._url}: {reason}")
        if 400 <= status < 500 and status not in (408, 429):
            return UsageError(f"control server {self._url}: {reason}")
        return ControlUnavailable(f"control server {self._url}: {reason}")


def _secret(settings: ControlSettings, role: Role) -> str:
    tokens = {
        "operator": (settings.operator_token, settings.approver_token),
        "approver": (settings.approver_token, settings.operator_token),
        "instance": (settings.instance_token,),
    }
    return next((found for one in tokens[role] if (found := one.get_secret_value())), "")
