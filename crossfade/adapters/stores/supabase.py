"""Reads the Supabase table through its functions (docs/protocol.md section 3)."""

import logging
import struct
import time
from base64 import b64decode
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import orjson

from crossfade.adapters.posts import PostFailed, Posts
from crossfade.core.digest import BlockDigest, block_last, block_of
from crossfade.core.event import Event, Stream, content_hash, from_wire, hash_from_hex
from crossfade.core.keys import api_headers
from crossfade.core.reconciliation_plan import Changes, Extent, Range
from crossfade.core.reconciliation_rows import Hashes, Row
from crossfade.errors import InvalidEvent, StoreRejected, StoreUnavailable, StoreUnreachable
from crossfade.settings import SupabaseSettings

__all__ = ["SupabaseReader", "split_ranges"]

MAX_BLOCKS = 2_000
"""Blocks (and so ranges) a call of ``crossfade_digests_v1``."""
DIGEST_ROWS = 512_000
"""Rows a call of it adds up at most, where a block holds no more: 0.1 s, of the 8 s that Supabase
lets the service role's statements run."""
SCRUB_ROWS = 32_768
"""Rows a call of ``crossfade_scrub_v1``, which reads the content."""
SCRUB_BLOCKS = 20_000
"""Blocks a call of it: some 2 MB of answer."""
HASHES = 32_000
"""Sequences a call of ``crossfade_hashes_v1``, which reads the content."""
AT_ONCE = 2
"""Calls under way for one question."""
PAGE = 1_000
"""Events a call of ``crossfade_fill_v1``, its own limit."""
ATTEMPTS = 3
PAUSE_S = 0.3
"""Wait before the second attempt; it grows by as much each time."""
_log = logging.getLogger("crossfade.reconcile")
_BUSY = ("08", "53", "57", "58", "PGRST00")
"""SQLSTATE classes and PostgREST codes of a database that may answer later."""

_BUSY_STATUSES = ("429", "500", "502", "503", "504", "520")


class SupabaseReader:
    """Implements ``ports.StoreReader`` over the project's REST interface, with the service role.

    Without the official client: importing it takes a tenth of a second (and its HTTP client as
    long), and it checks large answers value by value.

    Digests are sums of the hash column that PostgreSQL generates from the row; rows are
    hashed here again, and a difference between the two is reported. Failed calls are
    repeated up to ``ATTEMPTS`` times.

    Raises:
        StoreRejected: no project is configured.
    """

    name = "supabase"

    def __init__(self, settings: SupabaseSettings) -> None:
        if not settings.url or not settings.service_role_key.get_secret_value():
            raise StoreRejected(
                "no Supabase project: set supabase.url and supabase.service_role_key"
            )
        key = settings.service_role_key.get_secret_value()
        headers = {**api_headers(key), "Content-Type": "application/json"}
        try:
            self._posts = Posts(
                f"{settings.url.rstrip('/')}/rest/v1/rpc", headers, settings.timeout_s
            )
        except ValueError as error:
            raise StoreRejected(f"supabase: {error}") from error
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="crossfade-supabase")

    def streams(self) -> list[Extent]:
        """The lowest and highest sequence held of each stream."""
        with _understood("crossfade_extents_v1"):
            return [
                Extent(_stream(row), int(row[4]), int(row[5]))
                for row in self._call("crossfade_extents_v1", {})
            ]

    def changes(self, since: str) -> Changes:
        """Rows updated or deleted since a mark ("" for none), by the log that triggers keep."""
        answer = self._call("crossfade_changes_v1", {"since": since})
        with _understood("crossfade_changes_v1"):
            rows = answer["changes"]
            ranges = rows and tuple(Range(_stream(row), int(row[4]), int(row[5])) for row in rows)
            return Changes(str(answer["mark"]), () if ranges == [] else ranges)

    def digests(
        self, ranges: Sequence[Range], block: int, *, anew: bool = False
    ) -> Iterator[tuple[Stream, BlockDigest]]:
        """A digest of each block that holds rows of a range; one range's parts may come apart.

        ``anew`` has the database hash every row again instead of adding up its own column.
        """
        function = "crossfade_scrub_v1" if anew else "crossfade_digests_v1"
        rows, blocks = (SCRUB_ROWS, SCRUB_BLOCKS) if anew else (DIGEST_ROWS, MAX_BLOCKS)
        limit = min(blocks, max(1, rows // block))
        arguments = (
            {"ranges": _asked(batch), "block": block}
            for batch in split_ranges(ranges, block, limit)
        )
        for answer in self._call_each(function, arguments):
            with _understood(function):
                found = [(_stream(row), _digest(row)) for row in answer]
            yield from found

    def rows(self, stream: Stream, first: int, last: int) -> Iterator[Row]:
        """The rows of a range, in order, a page at a time."""
        while first <= last:
            answer = self._call(
                "crossfade_fill_v1",
                {**stream._asdict(), "first": first, "last": last, "page": PAGE},
            )
            with _understood("crossfade_fill_v1"):
                found = [_row(value) for value in answer["events"]]
                head = answer["head"]
            yield from found
            if not found or head is None:
                return
            first = found[-1].event.sequence + 1
            last = min(last, int(head))

    def hashes(self, ranges: Sequence[Range]) -> Iterator[Hashes]:
        """The hashes of the ranges' rows, which the database computes anew."""
        batches = list(split_ranges(ranges, 1, HASHES))
        answers = self._call_each(
            "crossfade_hashes_v1", ({"ranges": _asked(batch)} for batch in batches)
        )
        for batch, answer in zip(batches, answers, strict=True):
            with _understood("crossfade_hashes_v1"):
                found = [
                    Hashes(batch[place].stream, _integers(sequences), _integers(hashes), set(odd))
                    for place, sequences, hashes, odd in answer
                ]
            yield from found

    def rows_of(self, ranges: Sequence[Range]) -> Iterator[Row]:
        """The rows of many ranges, in their order; a call takes as many as it may."""
        left = list(ranges)
        while left:
            asked = left[:MAX_BLOCKS]
            answer = self._call("crossfade_rows_v1", {"ranges": _asked(asked)})
            with _understood("crossfade_rows_v1"):
                found = [_row(value) for value in answer["events"]]
                more = bool(answer["more"]) and bool(found)
            yield from found
            left = left[len(asked) :] if not more else _behind(found[-1], asked) + left[MAX_BLOCKS:]

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._posts.close()

    def _call_each(self, function: str, arguments: Iterable[dict[str, Any]]) -> Iterator[Any]:
        """What a function answers to each of the arguments, in their order; ``AT_ONCE`` at a time.

        PostgreSQL works at the next while an answer is read, on another of its processors.
        """
        waiting: deque[Future[Any]] = deque()
        try:
            for one in arguments:
                waiting.append(self._pool.submit(self._call, function, one))
                if len(waiting) > AT_ONCE:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def _call(self, function: str, arguments: dict[str, Any]) -> Any:
        for attempt in range(1, ATTEMPTS):
            try:
                return self._call_once(function, arguments)
            except StoreUnavailable as error:
                _log.info("%s; asking again", error)
                time.sleep(PAUSE_S * attempt)
        return self._call_once(function, arguments)

    def _call_once(self, function: str, arguments: dict[str, Any]) -> Any:
        try:
            status, content = self._posts.post(f"/{function}", orjson.dumps(arguments))
        except PostFailed as error:
            raise StoreUnreachable(f"{function}: {error}") from error
        try:
            answer = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            refused = 400 <= status < 500 and str(status) not in _BUSY_STATUSES
            kind = StoreRejected if refused else StoreUnavailable
            raise kind(
                f"{function}: status {status}, and the answer is not JSON: no project gave it"
            ) from error
        if 200 <= status < 300:
            return answer
        told = answer if isinstance(answer, dict) else {}
        code = str(told.get("code") or status)
        message = f"{function}: {code} {told.get('message') or ''}"
        if code.startswith(_BUSY) or code in _BUSY_STATUSES:
            raise StoreUnavailable(message)
        raise StoreRejected(message)


def _asked(ranges: Iterable[Range]) -> list[list[str | int]]:
    return [[*one.stream, one.first, one.last] for one in ranges]


def split_ranges(ranges: Iterable[Range], size: int, limit: int) -> Iterator[list[Range]]:
    """Cut ranges into batches that touch at most ``limit`` blocks each, at block borders."""
    batch: list[Range] = []
    room = limit
    for stream, first, last in ranges:
        start = first
        while start <= last:
            touched = block_of(last, size) - block_of(start, size) + 1
            end = last if touched <= room else block_last(block_of(start, size) + room - 1, size)
            batch.append(Range(stream, start, end))
            room -= min(touched, room)
            start = end + 1
            if not room:
                yield batch
                batch, room = [], limit
    if batch:
        yield batch


def _integers(text: str) -> tuple[int, ...]:
    """Base64 of big-endian signed 64-bit integers."""
    data = b64decode(text)
    return struct.unpack(f">{len(data) // 8}q", data)


def _behind(row: Row, ranges: Sequence[Range]) -> list[Range]:
    """What is left of ranges when a page of their rows ended with ``row``."""
    stream, sequence = row.event.stream, row.event.sequence
    for index, one in enumerate(ranges):
        if one.stream == stream and one.first <= sequence <= one.last:
            rest = [one._replace(first=sequence + 1)] if sequence < one.last else []
            return rest + list(ranges[index + 1 :])
    raise ValueError(f"{row.event.position} was not asked for")


def _stream(row: Sequence[Any]) -> Stream:
    return Stream(str(row[0]), int(row[1]), str(row[2]), int(row[3]))


def _digest(row: Sequence[Any]) -> BlockDigest:
    number, events, first, last, total, stale = row[4:10]
    return BlockDigest(number, events, first, last, int(total) & (1 << 64) - 1, stale)


def _row(value: Any) -> Row:
    stored = hash_from_hex(value["content_hash"])
    try:
        event = from_wire(value)
    except InvalidEvent as error:
        # One damaged row is a finding at its position, not the end of the comparison.
        event = Event(
            str(value.get("id")), str(value["source"]), str(value.get("type")), 0,
            str(value.get("subject")), str(value.get("category")), str(value["topic"]),
            int(value["partition"]), int(value["epoch"]), int(value["sequence"]),
            str(value.get("data")), stored,
        )  # fmt: skip
        return Row(event, stored, stored, fault=str(error))
    return Row(event, content_hash(event), stored)


@contextmanager
def _understood(function: str) -> Iterator[None]:
    try:
        yield
    except (InvalidEvent, LookupError, TypeError, ValueError, struct.error) as error:
        raise StoreRejected(
            f"{function}: the answer is not understood ({type(error).__name__}: {error}); are the "
            "migrations of this version applied?"
        ) from error
