"""The control server over HTTP (docs/protocol.md, section 6)."""

import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from crossfade.adapters.control import MAX_WAIT_S
from crossfade.control.auth import (
    Access,
    Approval,
    Denied,
    authorise,
    check_verb,
    is_approval_code,
)
from crossfade.control.breakers import set_breaker
from crossfade.control.dashboard import (
    PAGES,
    bundled_dashboard,
    client_config,
    cross_origin,
    dashboard_routes,
    page,
)
from crossfade.control.data_docs import data_docs, data_docs_page
from crossfade.control.gaps import accept_gaps
from crossfade.control.metrics import metrics_text
from crossfade.control.page import status_page
from crossfade.control.service import ControlService, NoRollout
from crossfade.core.telemetry import Report
from crossfade.errors import ApprovalRefused, CrossfadeError, Refused, UsageError, VersionConflict

__all__ = ["MAX_BODY_BYTES", "MAX_ROWS", "build_app"]

MAX_BODY_BYTES = 4_000_000
"""Largest request: a reconciliation that names a thousand discrepancies is well below."""

MAX_ROWS = 10_000
"""Most rows that one call answers."""

Endpoint = Callable[[ControlService, Request], Awaitable[Response]]
_log = structlog.get_logger("crossfade.control")


def build_app(service: ControlService) -> Starlette:
    """The application; the caller opens and closes ``service``.

    Where the dashboard was not built, ``/`` is the plain status page.
    """
    folder = bundled_dashboard()
    look, operate, anyone = Access.LOOK, Access.OPERATE, Access.TAKE_PART

    def route(path: str, endpoint: Endpoint, method: str, needed: Access | None) -> Route:
        async def handle(request: Request) -> Response:
            return await _answer(service, endpoint, request, needed)

        return Route(path, handle, methods=[method], name=f"{method} {path}")

    return Starlette(
        middleware=cross_origin(service.settings.control.origins),
        routes=[
            route("/", _page if folder is None else _dashboard(folder, ""), "GET", None),
            route("/plain", _page, "GET", None),
            *(
                []
                if folder is None
                else [
                    route(f"/{name}", _dashboard(folder, name), "GET", None)
                    for name in PAGES
                    if name
                ]
            ),
            *dashboard_routes(folder),
            route("/healthz", _healthz, "GET", None),
            route("/metrics", _metrics, "GET", None),
            route("/v1/flags", _flags, "GET", anyone),
            route("/v1/client-config", _client_config, "GET", anyone),
            route("/v1/telemetry", _report, "POST", anyone),
            route("/v1/telemetry", _telemetry, "GET", look),
            route("/v1/status", _status, "GET", look),
            route("/v1/rollout", _rollout, "GET", look),
            route("/v1/rollout", _start, "POST", operate),
            route("/v1/rollout/decision", _decision, "GET", look),
            route("/v1/rollout/commands", _command, "POST", Access.DECIDE),
            route("/v1/rollout/preview", _preview, "POST", look),
            route("/v1/breakers", set_breaker, "POST", operate),
            route("/v1/gaps", accept_gaps, "POST", operate),
            route("/v1/reconciliations", _reconciliations, "GET", look),
            route("/v1/reconciliations", _add_reconciliation, "POST", operate),
            route("/v1/data-docs", data_docs, "GET", look),
            route("/v1/data-docs/{at_us}/{suite}", data_docs_page, "GET", look),
            route("/v1/audit", _audit, "GET", look),
            route("/v1/incidents", _incidents, "GET", look),
        ],
    )


async def _answer(
    service: ControlService,
    endpoint: Endpoint,
    request: Request,
    needed: Access | None,
) -> Response:
    """Check the token, run the endpoint, and turn every error into its status."""
    try:
        if needed is not None:
            header = request.headers.get("authorization", "")
            now_s = service.clock.now_us() / 1e6
            request.state.who = authorise(service.settings.control, header, needed, now_s)
        return await endpoint(service, request)
    except Denied as error:
        return _error(error.status, str(error))
    except NoRollout as error:
        return _error(404, str(error))
    except ApprovalRefused as error:
        return _error(409, str(error), "approval_refused")
    except VersionConflict as error:
        return _error(409, str(error), "version_conflict")
    except Refused as error:
        return _error(409, str(error), "refused")
    except UsageError as error:
        return _error(400, str(error))
    except ClientDisconnect:
        return _error(400, "the request was cut off")
    except (SQLAlchemyError, CrossfadeError) as error:
        # The statement and its parameters stay out of the answer.
        _log.error("call failed", path=request.url.path, error=repr(getattr(error, "orig", error)))
        return _error(503, "the control server's database does not answer")


async def _page(service: ControlService, request: Request) -> Response:
    return HTMLResponse(status_page(service), headers={"Cache-Control": "no-store"})


def _dashboard(folder: Path, name: str) -> Endpoint:
    async def answer(service: ControlService, request: Request) -> Response:
        return page(folder, name, service.settings)

    return answer


async def _client_config(service: ControlService, request: Request) -> Response:
    document = client_config(service.settings, service.clock.now_us())
    return _json({**document, "access": request.state.who})


async def _healthz(service: ControlService, request: Request) -> Response:
    await service.db(service.store.ping)
    return _json({"status": "ok"})


async def _metrics(service: ControlService, request: Request) -> Response:
    return Response(metrics_text(service), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _flags(service: ControlService, request: Request) -> Response:
    after = _integer(request, "after", -1)
    wait_s = _decimal(request, "wait_s", 0.0)
    flags = await service.newer_flags(after, min(max(wait_s, 0.0), MAX_WAIT_S))
    return _json(flags.to_json())


async def _report(service: ControlService, request: Request) -> Response:
    body = await _body(request)
    try:
        report = Report.from_json(body)
        _check_report(report)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"report: {type(error).__name__}: {error}") from error
    return _json({"flag_version": service.report(report)})


def _check_report(report: Report) -> None:
    """What a typed constructor does not check, and what would break the sums."""
    if not isinstance(report.instance, str) or not 0 < len(report.instance) <= 200:
        raise ValueError("instance must be a name of at most 200 characters")
    if not isinstance(report.at_us, int) or not isinstance(report.flag_version, int):
        raise TypeError("at_us and flag_version must be whole numbers")
    if not 0 < report.interval_ms <= 3_600_000:
        raise ValueError("interval_ms must be above 0 and at most an hour")
    if max(len(report.sinks), len(report.transports), len(report.totals)) > 50:
        raise ValueError("at most 50 sinks, transports and totals")
    latencies = [one.latency_ms for one in report.sinks.values()]
    latencies += [one.latency_ms for one in report.transports.values()]
    for latency in latencies:
        for number, count in latency.counts.items():
            if not -1_000 < int(number) < 1_000 or not isinstance(count, int):
                raise ValueError(f"latency_ms: {number!r} is not a bucket")
    for sink in report.sinks.values():
        figures = (sink.calls, sink.failures, sink.slow, sink.connect_failures, sink.events)
        if not all(isinstance(one, int) and one >= 0 for one in (*figures, sink.owed)):
            raise ValueError("figures of a sink must be whole numbers from 0 on")
        if sink.failures > sink.calls or not isinstance(sink.breaker, str):
            raise ValueError("a sink has more failures than calls, or no breaker")
    for transport in report.transports.values():
        counts = (transport.received, transport.delivered, transport.cohort)
        if not all(isinstance(one, int) and one >= 0 for one in (*counts, transport.duplicates)):
            raise ValueError("figures of a transport must be whole numbers from 0 on")
        bits = transport.serving.values()
        if len(bits) > 1_000 or not all(isinstance(one, str) and len(one) <= 1_024 for one in bits):
            raise ValueError("serving must name at most 1,000 topics and 4,096 partitions")
        for one in bits:
            int(one, 16)
    if len(report.resources) > 50 or not all(
        isinstance(one, int | float) and math.isfinite(one) for one in report.resources.values()
    ):
        raise ValueError("resources must be at most 50 finite numbers")
    for total in (*report.totals.values(), *report.categories.values()):
        if not isinstance(total, int):
            raise TypeError("totals and categories must be whole numbers")


async def _telemetry(service: ControlService, request: Request) -> Response:
    since_us, limit = _integer(request, "since_us", 0), _limit(request, 1_000)
    windows = await service.db(service.records.windows, since_us, limit)
    return _json([one.to_json() for one in windows])


async def _status(service: ControlService, request: Request) -> Response:
    return _json(await service.status())


async def _rollout(service: ControlService, request: Request) -> Response:
    return _json(None if service.rollout is None else service.rollout.to_json())


async def _start(service: ControlService, request: Request) -> Response:
    return _json((await service.start(await _body(request))).to_json())


async def _decision(service: ControlService, request: Request) -> Response:
    stage = _integer(request, "stage", None)
    attempt = _integer(request, "attempt", 0)
    return _json(await service.decision(stage, attempt or None))


async def _command(service: ControlService, request: Request) -> Response:
    body, who = await _body(request), request.state.who
    control, rollout = service.settings.control, service.rollout
    differs = rollout is not None and rollout.plan.approver_differs
    proved = False
    if rollout is not None and body.get("verb") == "approve":
        # It proves who decides and is no part of the command, or of the audit.
        code = str(body.pop("code", ""))
        approval = Approval.of(rollout.id, body)
        proved = is_approval_code(code, control, approval)
    check_verb(control, who, body.get("verb"), differs, proved=proved)
    return _json((await service.command(body, "approver" if proved else who)).to_json())


async def _preview(service: ControlService, request: Request) -> Response:
    rollout, facts = await service.preview(await _body(request))
    return _json({"rollout": rollout.to_json(), "facts": [fact.to_json() for fact in facts]})


async def _reconciliations(service: ControlService, request: Request) -> Response:
    return _json(await service.db(service.records.reconciliations, _limit(request, 20)))


async def _add_reconciliation(service: ControlService, request: Request) -> Response:
    return _json({"hash": await service.add_reconciliation(await _body(request))})


async def _audit(service: ControlService, request: Request) -> Response:
    after = _integer(request, "after", 0)
    return _json(await service.db(service.store.audit, after, _limit(request, 100)))


async def _incidents(service: ControlService, request: Request) -> Response:
    return _json(await service.db(service.store.incidents, _limit(request, 100)))


async def _body(request: Request) -> dict[str, Any]:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise UsageError(f"the request is larger than {MAX_BODY_BYTES} bytes")
        chunks.append(chunk)
    try:
        value = orjson.loads(b"".join(chunks))
    except orjson.JSONDecodeError as error:
        raise UsageError(f"the request is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError("the request must be a JSON object")
    return value


def _integer(request: Request, name: str, default: int | None) -> int:
    text = request.query_params.get(name)
    if text is None:
        if default is None:
            raise UsageError(f"{name}: must be given")
        return default
    try:
        value = int(text)
    except ValueError:
        raise UsageError(f"{name}: {text!r} is not a whole number") from None
    if abs(value) >= 1 << 63:
        raise UsageError(f"{name}: {text} is out of range")
    return value


def _decimal(request: Request, name: str, default: float) -> float:
    text = request.query_params.get(name)
    try:
        return default if text is None else float(text)
    except ValueError:
        raise UsageError(f"{name}: {text!r} is not a number") from None


def _limit(request: Request, default: int) -> int:
    limit = _integer(request, "limit", default)
    if not 1 <= limit <= MAX_ROWS:
        raise UsageError(f"limit: must be 1 to {MAX_ROWS}, is {limit}")
    return limit


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status_code=status, media_type="application/json")


def _error(status: int, reason: str, code: str | None = None) -> Response:
    body = {"error": reason} if code is None else {"error": reason, "code": code}
    return _json(body, status)
