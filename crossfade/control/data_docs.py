"""Great Expectations' pages of the validations, to whoever may look.

A person reads them at ``/data-docs``, one of the dashboard's pages, which asks for a token and
fetches them with it: a page that a browser opens by its address could not send one.
"""

import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from crossfade.control.service import ControlService
from crossfade.data_docs import page_file, runs
from crossfade.errors import UsageError

__all__ = ["MAX_RUNS", "data_docs", "data_docs_page"]

MAX_RUNS = 100
"""Most runs that are listed; as many are kept."""

_AT_US = re.compile(r"[0-9]{1,20}")
_HEADERS = {
    "Cache-Control": "private, no-cache",
    # The pages hold no script and load nothing; what an event's content smuggled in shall not.
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


async def data_docs(service: ControlService, request: Request) -> Response:
    """``GET /v1/data-docs``: the runs whose pages there are, newest first."""
    docs = service.settings.reconcile.docs
    if docs is None:
        return _error(404, "no pages are kept: reconcile.docs names no folder")
    try:
        return JSONResponse(await service.docs.run(runs, docs, MAX_RUNS))
    except TimeoutError as error:
        return _error(503, f"reconcile.docs: {error}")
    except OSError as error:
        raise UsageError(f"reconcile.docs: {docs}: {error.strerror}") from error


async def data_docs_page(service: ControlService, request: Request) -> Response:
    """``GET /v1/data-docs/{at_us}/{suite}``: one suite's page of the run of that moment."""
    docs = service.settings.reconcile.docs
    at_us, suite = str(request.path_params["at_us"]), str(request.path_params["suite"])
    found = None
    # Not by the route's own int: it would read a number of any length, and Python refuses to.
    if docs is not None and _AT_US.fullmatch(at_us):
        try:
            found = await service.docs.run(_read, docs, int(at_us), suite)
        except TimeoutError as error:
            return _error(503, f"reconcile.docs: {error}")
    if found is None:
        return _error(404, "no such page; the oldest runs' pages are removed")
    return Response(found, media_type="text/html; charset=utf-8", headers=_HEADERS)


def _read(docs: Path, at_us: int, suite: str) -> bytes | None:
    """What the page holds; None where there is none."""
    file = page_file(docs, at_us, suite)
    try:
        return None if file is None else file.read_bytes()
    except TimeoutError:
        raise
    except OSError:
        return None  # removed meanwhile, or not ours to read


def _error(status: int, reason: str) -> Response:
    return JSONResponse({"error": reason}, status_code=status)
