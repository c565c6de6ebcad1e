"""The calls of Prefect's REST API that people and the demo need, over plain HTTP.

The same calls as Prefect's own pages make, so that whatever works here works there. Works
against any Prefect 3 server, the embedded one or a team's own.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx
import orjson

from crossfade.errors import PrefectUnavailable, Refused, UsageError
from crossfade.prefect_login import login_headers
from crossfade.settings import PrefectSettings

__all__ = ["FINAL_STATES", "Form", "PrefectApi"]

FINAL_STATES = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
"""Types of state from which a run does not move by itself."""

_PAGES = "/v2"
"""Prefect's newer pages: the older ones show a stranger nothing, instead of asking to log in."""

_PAGE = 200
_POLL_S = 0.25
_BUSY_S = (0.1, 0.3, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The form of a suspended run.

    ``description`` is the markdown shown above it, ``fields`` the JSON schema of each field,
    ``required`` those without a default, ``expires`` when the run stops waiting (RFC 3339).
    """

    run_id: str
    run_name: str
    deployment_id: str
    description: str
    fields: Mapping[str, Any]
    required: tuple[str, ...]
    expires: str


class PrefectApi:
    """A client of one Prefect server; an async context manager.

    Every method raises ``PrefectUnavailable`` when the server does not answer in time, and
    ``UsageError`` when it does not accept the request.

    Args:
        api_url: as ``PREFECT_API_URL``, ending in ``/api``.
        timeout_s: for every call.
        auth: as ``prefect.auth`` in the settings.
        transport: for tests.
    """

    def __init__(
        self,
        api_url: str,
        *,
        timeout_s: float = 10.0,
        auth: str = "",
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = api_url.rstrip("/")
        self._http = httpx.AsyncClient(
            base_url=self._url,
            timeout=timeout_s,
            headers=login_headers(auth),
            limits=httpx.Limits(max_connections=8),
            transport=transport,
            trust_env=False,
        )

    @classmethod
    def of(cls, section: PrefectSettings, *, timeout_s: float = 10.0) -> Self:
        """A client of the server that the settings name, with their login."""
        return cls(section.api_url, timeout_s=timeout_s, auth=section.auth.get_secret_value())

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

    async def healthy(self) -> bool:
        """Whether the server answers; never raises."""
        try:
            return (await self._http.get("/health")).is_success
        except httpx.HTTPError:
            return False

    async def worker_online(self, pool: str, name: str) -> bool:
        """Whether the worker of this name polls the pool; never raises."""
        try:
            rows = await self._call("POST", f"/work_pools/{pool}/workers/filter", {})
        except (PrefectUnavailable, UsageError):
            return False
        return any(row["name"] == name and row["status"] == "ONLINE" for row in rows)

    async def deployments(self) -> dict[str, dict[str, Any]]:
        """Every deployment by its name ``flow/deployment``."""
        flows = {row["id"]: row["name"] for row in await self._call("POST", "/flows/filter", {})}
        rows = await self._call("POST", "/deployments/filter", {"limit": _PAGE})
        return {f"{flows[row['flow_id']]}/{row['name']}": row for row in rows}

    async def deployment_id(self, deployment: str) -> str:
        """The id of ``flow/deployment``."""
        flow, _, name = deployment.partition("/")
        return str((await self._call("GET", f"/deployments/name/{flow}/{name}"))["id"])

    async def run(
        self,
        deployment: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        tags: Sequence[str] = (),
    ) -> str:
        """Start a deployment and return the run's id.

        With an ``idempotency_key`` a repeated call returns the run that the first one made.
        """
        body: dict[str, Any] = {"parameters": dict(parameters or {}), "tags": list(tags)}
        if idempotency_key is not None:
            body["idempotency_key"] = idempotency_key
        identity = await self.deployment_id(deployment)
        run = await self._call("POST", f"/deployments/{identity}/create_flow_run", body)
        return str(run["id"])

    async def runs(
        self,
        *,
        deployments: Sequence[str] = (),
        states: Sequence[str] = (),
        limit: int = _PAGE,
    ) -> list[dict[str, Any]]:
        """Runs, latest first, of these deployments (all if none) in these types of state."""
        chosen: dict[str, Any] = {}
        if states:
            chosen["state"] = {"type": {"any_": list(states)}}
        if deployments:
            wanted = [await self.deployment_id(name) for name in deployments]
            chosen["deployment_id"] = {"any_": wanted}
        body = {"flow_runs": chosen, "sort": "EXPECTED_START_TIME_DESC", "limit": limit}
        found: list[dict[str, Any]] = await self._call("POST", "/flow_runs/filter", body)
        return found

    async def read(self, run_id: str) -> dict[str, Any]:
        """One run; ``state_type``, ``state_name`` and ``state.message`` tell where it stands."""
        found: dict[str, Any] = await self._call("GET", f"/flow_runs/{run_id}")
        return found

    async def flow_name(self, flow_id: str) -> str:
        """The name of a flow."""
        return str((await self._call("GET", f"/flows/{flow_id}"))["name"])

    async def wait(self, run_id: str, timeout_s: float) -> dict[str, Any]:
        """Wait until a run has ended and return it.

        Raises:
            TimeoutError: it had not within ``timeout_s``.
        """
        async with asyncio.timeout(timeout_s):
            while True:
                run = await self.read(run_id)
                if run["state_type"] in FINAL_STATES:
                    return run
                await asyncio.sleep(_POLL_S)

    async def form(self, run_id: str) -> Form | None:
        """The form that a suspended run waits for, or None while there is none."""
        run = await self.read(run_id)
        details = (run.get("state") or {}).get("state_details") or {}
        keys = details.get("run_input_keyset")
        if run["state_type"] != "PAUSED" or not keys:
            return None
        schema = await self._input(run_id, keys["schema"])
        if schema is None:
            # The state is there a moment before the form.
            return None
        return Form(
            run_id=run_id,
            run_name=str(run["name"]),
            deployment_id=str(run["deployment_id"]),
            description=str(await self._input(run_id, keys["description"]) or ""),
            fields=dict(schema.get("properties", {})),
            required=tuple(schema.get("required", ())),
            expires=str(details.get("pause_timeout") or ""),
        )

    async def waiting(self, deployments: Sequence[str] = ()) -> list[Form]:
        """The forms of all suspended runs (of these deployments), latest first."""
        runs = await self.runs(deployments=deployments, states=("PAUSED",))
        forms = [await self.form(str(run["id"])) for run in runs]
        return [form for form in forms if form is not None]

    async def answer(self, run_id: str, values: Mapping[str, Any]) -> None:
        """Answer a suspended run's form, as Prefect's page does.

        Raises:
            Refused: the form does not take these values, or the run does not wait.
        """
        result = await self._call(
            "POST", f"/flow_runs/{run_id}/resume", {"run_input": dict(values)}
        )
        _accepted(result, f"the form of run {run_id} was not taken")

    async def cancel(self, run_id: str) -> None:
        """Cancel a run; a waiting one ends at once, a running one within seconds.

        Raises:
            Refused: the run has ended already.
        """
        await self.set_state(run_id, "CANCELLING")

    async def set_state(self, run_id: str, kind: str, message: str = "") -> None:
        """Propose a state of this type for a run.

        Raises:
            Refused: Prefect does not allow it; the message says why.
        """
        state: dict[str, Any] = {"type": kind, "message": message}
        if kind == "SCHEDULED":
            state["name"] = "AwaitingRetry"
        result = await self._call("POST", f"/flow_runs/{run_id}/set_state", {"state": state})
        _accepted(result, f"run {run_id} does not become {kind.lower()}", kind)

    async def emit(self, event: str, resource: str, payload: Mapping[str, Any]) -> None:
        """Send an event, which may start deployments by their triggers."""
        body = {
            "id": str(uuid4()),
            "occurred": datetime.now(UTC).isoformat(),
            "event": event,
            "resource": {"prefect.resource.id": resource},
            "payload": dict(payload),
        }
        await self._call("POST", "/events", [body])

    async def artifacts(self, key: str, limit: int = 20) -> list[dict[str, Any]]:
        """The artifacts of a key, latest first; ``data`` is their content."""
        body = {"artifacts": {"key": {"any_": [key]}}, "sort": "CREATED_DESC", "limit": limit}
        found: list[dict[str, Any]] = await self._call("POST", "/artifacts/filter", body)
        return found

    @property
    def ui_url(self) -> str:
        """Prefect's page."""
        return self._url.removesuffix("/api")

    def run_url(self, run_id: str) -> str:
        """A run's page; its menu has *Resume*, which opens the form of a waiting run."""
        return f"{self.ui_url}{_PAGES}/runs/flow-run/{run_id}"

    def deployment_url(self, deployment_id: str) -> str:
        """A deployment's page."""
        return f"{self.ui_url}{_PAGES}/deployments/deployment/{deployment_id}"

    async def _input(self, run_id: str, key: str) -> Any:
        try:
            return await self._call("GET", f"/flow_runs/{run_id}/input/{key}")
        except UsageError:
            return None

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        for pause_s in (*_BUSY_S, None):
            response, value = await self._request(method, path, body)
            # Prefect on SQLite says so when its database is locked; nothing was done then.
            if response.status_code != 503 or pause_s is None:
                break
            await asyncio.sleep(pause_s)
        if response.is_success:
            return value
        if response.status_code == 401:
            raise UsageError(
                f"Prefect at {self._url} refuses the login: prefect.auth must be the "
                "user:password of its PREFECT_SERVER_API_AUTH_STRING, or Prefect Cloud's API key"
            )
        detail = value.get("detail", value) if isinstance(value, dict) else value
        message = f"Prefect: {method} {path}: {response.status_code}: {detail}"
        if response.status_code >= 500 or response.status_code in (408, 429):
            raise PrefectUnavailable(message)
        raise UsageError(message)

    async def _request(self, method: str, path: str, body: Any) -> tuple[httpx.Response, Any]:
        try:
            response = await self._http.request(
                method,
                path,
                content=None if body is None else orjson.dumps(body),
                headers={} if body is None else {"Content-Type": "application/json"},
            )
            value = orjson.loads(response.content) if response.content else None
        except httpx.TimeoutException as error:
            raise PrefectUnavailable(f"Prefect at {self._url} did not answer in time") from error
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise PrefectUnavailable(f"Prefect at {self._url}: {reason}") from error
        except orjson.JSONDecodeError as error:
            raise PrefectUnavailable(
                f"Prefect at {self._url} answered {response.status_code} without JSON"
            ) from error
        return response, value


def _accepted(result: Any, what: str, *kinds: str) -> None:
    """Check Prefect's answer to a proposed state: it may put another in its place.

    Raises:
        Refused: it kept the state as it was.
    """
    if result["status"] == "ACCEPT":
        return
    details = result.get("details") or {}
    state = (result.get("state") or {}).get("type")
    # A waiting run has nothing to end: Prefect answers "cancelling" with "cancelled".
    if result["status"] == "REJECT" and kinds == ("CANCELLING",) and state == "CANCELLED":
        return
    raise Refused(f"{what}: {details.get('reason') or result['status'].lower()}")
