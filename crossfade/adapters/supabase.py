"""The Supabase table, through the official client (docs/protocol.md section 3).

``SupabaseEventStore`` is asynchronous. Synchronous code calls one of its methods with
``asyncio.run`` (a new store inside it, since connections belong to one event loop) or reads
with ``crossfade.adapters.stores.supabase``, which is synchronous by nature.
"""

import asyncio
import re
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple, Self

import httpx
import orjson
from postgrest import APIError
from supabase import AsyncClient, AsyncClientOptions, acreate_client

from crossfade.core.event import Event, Head, Position, Stream, from_wire, hash_from_hex
from crossfade.core.frames import encode_event, json_array
from crossfade.core.keys import is_opaque
from crossfade.errors import (
    Closed,
    InvalidEvent,
    StoreRejected,
    StoreUnavailable,
    StoreUnreachable,
    UsageError,
)
from crossfade.ports import Conflict, FillPage, IngestResult
from crossfade.settings import Settings

__all__ = ["Health", "SupabaseEventStore"]

FILL_PAGE = 500
"""Events a fill asks for; the function itself stops at 1,000 and at about 4 MB."""
_MESSAGE_CHARACTERS = 400
_SQLSTATE = re.compile(r"[0-9A-Z]{5}\Z")
# Classes of SQLSTATE that name a fault of the data, which no repetition mends: cardinality,
# data exception, integrity constraint, program limit.
_DATA_FAULTS = ("21", "22", "23", "54")
_REJECTING_STATUSES = (400, 406, 409, 413, 414, 422)

_body: ContextVar[bytes | None] = ContextVar("crossfade_rpc_body", default=None)


class Health(NamedTuple):
    """What ``crossfade_health_v1`` answers; ``events`` is an estimate above 100,000."""

    migration: str
    now: str
    partition_today: bool
    events: int


class SupabaseEventStore:
    """Implements ``ports.EventStore`` over a Supabase project's REST interface.

    A publisher's has the service role's key; a subscriber's, which may only ``fill``, the anon
    key and a user's access token. What concerns the call and not the batch (a key that is not
    accepted, a function that is missing because a migration was not applied) is
    ``StoreUnavailable``, although it comes as a 4xx: nothing is wrong with the events, and they
    must not be set aside one by one until somebody has mended it.

    Args:
        url: the project's, without a path.
        key: the project's key; never shown in an error.
        access_token: a user's token, when the caller is not the key's own role.
        timeout_s: longest wait for a call as a whole.
        frame_limit_bytes: of one live frame (a broadcast's size limit of the plan, with room).

    Raises:
        UsageError: the address or the key is missing.
    """

    name = "supabase"

    def __init__(
        self,
        url: str,
        key: str,
        *,
        access_token: str = "",
        timeout_s: float = 5.0,
        frame_limit_bytes: int = 200_000,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"supabase.url: {url!r} must start with http:// or https://")
        if not key:
            raise UsageError("supabase: a key is missing")
        self._url = url.rstrip("/")
        self._key = key
        self._token = access_token or key
        self._timeout_s = timeout_s
        self._frame_limit_bytes = frame_limit_bytes
        self._opening = asyncio.Lock()
        self._client: AsyncClient | None = None
        self._http: httpx.AsyncClient | None = None
        self._closed = False

    @classmethod
    def for_publisher(cls, settings: Settings) -> "SupabaseEventStore":
        """The store of a publisher: ingests with the service role's key."""
        project = settings.supabase
        return cls(
            project.url,
            project.service_role_key.get_secret_value(),
            timeout_s=settings.relay.timeout_s,
            frame_limit_bytes=settings.relay.frame_limit_bytes,
        )

    @classmethod
    def for_subscriber(cls, settings: Settings) -> "SupabaseEventStore":
        """The store of a subscriber: fills with its access token (else the anon key)."""
        project = settings.supabase
        return cls(
            project.url,
            project.anon_key.get_secret_value(),
            access_token=project.access_token.get_secret_value(),
            timeout_s=project.timeout_s,
        )

    async def ingest(self, events: Sequence[Event], *, live: bool = True) -> IngestResult:
        """Store a batch (at most 5,000 events and 16 MB) and send what is new, in one transaction.

        Raises:
            StoreUnavailable: nothing is known of the outcome: send the same batch again.
            StoreRejected: the batch is too large or one event breaks a rule: bisect it.
        """
        answer = await self._call(
            "crossfade_ingest_v1",
            {
                "batch": json_array(map(encode_event, events)),
                "live": live,
                "frame_limit_bytes": self._frame_limit_bytes,
            },
        )
        try:
            return IngestResult(
                int(answer["inserted"]),
                int(answer["skipped"]),
                tuple(_conflict(value) for value in answer["conflicts"]),
                int(answer["frames"]),
                tuple(str(warning) for warning in answer["warnings"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _malformed("crossfade_ingest_v1", error) from error

    async def heads(self, heads: Sequence[Head]) -> None:
        """Record heads (at most 10,000; they never go down) and send them.

        Raises:
            StoreUnavailable, StoreRejected: as ``ingest``.
        """
        rows = [[*head.stream, head.sequence, head.floor] for head in heads]
        await self._call("crossfade_heads_v1", {"heads": rows})

    async def fill(self, stream: Stream, first: int, last: int) -> FillPage:
        """A page of a stream: at most ``FILL_PAGE`` events from ``first`` on.

        Raises:
            StoreUnavailable: no answer, or this caller may not read the topic.
            StoreRejected: a wrong request.
        """
        answer = await self._call(
            "crossfade_fill_v1",
            {**stream._asdict(), "first": first, "last": last, "page": FILL_PAGE},
        )
        try:
            events = [from_wire(value) for value in answer["events"]]
            floor, head = answer["floor"], answer["head"]
            return FillPage(
                events, None if floor is None else int(floor), None if head is None else int(head)
            )
        except (InvalidEvent, KeyError, TypeError, ValueError) as error:
            raise _malformed("crossfade_fill_v1", error) from error

    async def health(self) -> Health:
        """Whether the schema is there and Realtime can take frames.

        Raises:
            StoreUnavailable, StoreRejected: as ``ingest``.
        """
        answer = await self._call("crossfade_health_v1", {})
        try:
            return Health(
                str(answer["migration"]),
                str(answer["now"]),
                bool(answer["partition_today"]),
                int(answer["events"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _malformed("crossfade_health_v1", error) from error

    async def set_access_token(self, token: str) -> None:
        """Take a fresh access token for the calls from now on."""
        self._token = token or self._key
        async with self._opening:
            if self._client is not None:
                self._client.postgrest.auth(self._token)

    async def close(self) -> None:
        """Close the connections; later calls raise ``Closed``."""
        self._closed = True
        async with self._opening:
            if self._http is not None:
                await self._http.aclose()
            self._client = self._http = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _call(self, function: str, arguments: dict[str, Any]) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                client = await self._connected()
                given = _body.set(orjson.dumps(arguments))
                try:
                    return (await client.rpc(function, {}).execute()).data
                finally:
                    _body.reset(given)
        except TimeoutError:
            raise StoreUnreachable(f"{function}: no answer in {self._timeout_s:g} s") from None
        except httpx.HTTPError as error:
            # Its text can hold the URL, never a header.
            raise StoreUnreachable(self._text(function, type(error).__name__, error)) from None
        except _Refused as refused:
            text = self._text(function, f"HTTP {refused.status}", refused.reason)
            raise (StoreRejected if refused.final else StoreUnavailable)(text) from None
        except APIError as error:
            # Only of an answer that was no error to `_screen`: not what the client expects.
            raise StoreUnavailable(self._text(function, error.code, error.message)) from None

    async def _connected(self) -> AsyncClient:
        if self._closed:
            raise Closed("the Supabase store was closed")
        if self._client is None:
            async with self._opening:
                if self._client is None:
                    self._http = _Http(
                        timeout=self._timeout_s,
                        event_hooks={"request": [_dress], "response": [_screen]},
                        limits=httpx.Limits(max_connections=20, keepalive_expiry=30),
                    )
                    self._client = await acreate_client(
                        self._url,
                        self._key,
                        AsyncClientOptions(
                            headers={"Authorization": f"Bearer {self._token}"},
                            auto_refresh_token=False,
                            persist_session=False,
                            postgrest_client_retry=False,  # the caller retries, with backoff
                            httpx_client=self._http,
                        ),
                    )
        return self._client

    def _text(self, function: str, *parts: object) -> str:
        text = f"{function}: {' '.join(str(part) for part in parts if part)}"
        for secret in (self._key, self._token):
            text = text.replace(secret, "…")
        return text[:_MESSAGE_CHARACTERS]


class _Http(httpx.AsyncClient):
    """Sends the body that ``_call`` has made in place of the client's, which writes it with the
    standard library's JSON: a third of a relay's work, where the events are encoded already.
    """

    def build_request(self, method: str, url: Any, **options: Any) -> httpx.Request:
        body = _body.get()
        if body is not None:
            options["content"] = body
        return super().build_request(method, url, **options)


class _Refused(Exception):
    """An answer that is no success. ``final``: no repetition of this batch can succeed."""

    def __init__(self, status: int, reason: str, *, final: bool) -> None:
        self.status = status
        self.reason = reason
        self.final = final
        super().__init__(status)


async def _dress(request: httpx.Request) -> None:
    """Take an opaque key out of ``Authorization``, where the client puts whatever key it has."""
    _, _, bearer = request.headers.get("authorization", "").partition(" ")
    if is_opaque(bearer):
        del request.headers["authorization"]


async def _screen(response: httpx.Response) -> None:
    """Judge an answer before the client does, which forgets the status and the content type."""
    if response.status_code == 204:
        return
    if "json" not in response.headers.get("content-type", ""):
        # A gateway's page: the service behind it is down, paused or starting; a body that is
        # too large for it is the exception.
        raise _Refused(
            response.status_code,
            "the answer is not JSON: a gateway, not the project, gave it",
            final=response.status_code == 413,
        )
    if response.is_success:
        return
    await response.aread()
    code, message = "", ""
    try:
        body = response.json()
        code, message = str(body.get("code") or ""), str(body.get("message") or "")
    except (ValueError, AttributeError):
        message = "not understood"
    raise _Refused(
        response.status_code, f"{code} {message}", final=_is_final(response.status_code, code)
    )


def _is_final(status: int, code: str) -> bool:
    if _SQLSTATE.match(code):
        return code.startswith(_DATA_FAULTS)
    return status in _REJECTING_STATUSES


def _conflict(value: Any) -> Conflict:
    position = Position(
        str(value["source"]),
        int(value["epoch"]),
        str(value["topic"]),
        int(value["partition"]),
        int(value["sequence"]),
    )
    return Conflict(position, hash_from_hex(value["stored"]), hash_from_hex(value["offered"]))


def _malformed(function: str, error: Exception) -> StoreUnavailable:
    return StoreUnavailable(
        f"{function}: the answer is not understood ({type(error).__name__}: {error}); "
        "are the migrations of this version applied?"
    )
