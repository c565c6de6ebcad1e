"""POST requests to one server over kept connections, by the standard library alone.

For a command that must be quick: the full client takes a tenth of a second of processor time to
import, which is as much as a check of the last five minutes takes.
"""

import gzip
import os
import zlib
from base64 import b64encode
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from threading import Lock
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

__all__ = ["MAX_ANSWER_BYTES", "Answer", "PostFailed", "Posts"]

MAX_ANSWER_BYTES = 64_000_000
"""Longest answer that is read, as it travels: the longest that is asked for is some 2 MB."""


class PostFailed(Exception):
    """There is no answer; the message says why."""


class Answer(NamedTuple):
    """Status and content of an answer, whatever the status."""

    status: int
    content: bytes


class Posts:
    """Sends requests to the server of ``url``; any number of threads may.

    A connection is kept for each request that is under way at the same time, and used again. The
    environment's proxies are used, as by every HTTP client.

    Args:
        url: ``http`` or ``https``, with a host; paths are below it.
        headers: of every request.
        timeout_s: longest wait for a connection, and for each part of an answer.

    Raises:
        ValueError: it is no such URL.
    """

    def __init__(self, url: str, headers: Mapping[str, str], timeout_s: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not an http or https URL with a host")
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port or (443 if self._secure else 80)
        self._base = parts.path.rstrip("/")
        self._headers = {**headers, "Accept-Encoding": "gzip"}
        self._timeout_s = timeout_s
        self._proxy = _proxy_of(parts.scheme, self._host)
        if self._proxy and not self._secure:
            self._base = f"http://{parts.netloc.rpartition('@')[2]}{self._base}"
            self._headers |= self._proxy.headers
        self._idle: list[HTTPConnection] = []
        self._lock = Lock()
        self._closed = False

    def post(self, path: str, content: bytes) -> Answer:
        """The answer to one request.

        Raises:
            PostFailed: the server can not be reached, does not answer in time, or not in HTTP.
        """
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is not None:
            try:
                return self._ask(connection, path, content)
            except ConnectionError:
                pass  # the server closed it while it was idle: once more, on a new one
            except (OSError, HTTPException) as error:
                raise PostFailed(_said(error)) from error
        try:
            return self._ask(self._connection(), path, content)
        except (OSError, HTTPException) as error:
            raise PostFailed(_said(error)) from error

    def close(self) -> None:
        """Close the connections; one that is in use is closed when its answer has come."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _ask(self, connection: HTTPConnection, path: str, content: bytes) -> Answer:
        try:
            connection.request("POST", self._base + path, body=content, headers=self._headers)
            response = connection.getresponse()
            answer = Answer(response.status, _content(response))
        except BaseException:
            connection.close()
            raise
        with self._lock:
            keep = not self._closed and not response.will_close
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()
        return answer

    def _connection(self) -> HTTPConnection:
        proxy = self._proxy
        host, port = (proxy.host, proxy.port) if proxy else (self._host, self._port)
        if not self._secure:
            return HTTPConnection(host, port, timeout=self._timeout_s)
        made = HTTPSConnection(host, port, timeout=self._timeout_s)
        if proxy:
            made.set_tunnel(self._host, self._port, headers=dict(proxy.headers))
        return made


class _Proxy(NamedTuple):
    host: str
    port: int
    headers: Mapping[str, str]


def _proxy_of(scheme: str, host: str) -> _Proxy | None:
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    # Only here: it takes a while to import.
    from urllib.request import getproxies, proxy_bypass

    found = getproxies()
    url = found.get(scheme) or found.get("all")
    if not url or proxy_bypass(host):
        return None
    parts = urlsplit(url if "//" in url else f"//{url}")
    if not parts.hostname:
        return None
    headers = {}
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {b64encode(login.encode()).decode()}"
    return _Proxy(parts.hostname, parts.port or 80, headers)


def _content(response: HTTPResponse) -> bytes:
    content = response.read(MAX_ANSWER_BYTES + 1)
    if len(content) > MAX_ANSWER_BYTES:
        raise HTTPException(f"the answer is longer than {MAX_ANSWER_BYTES:,} bytes")
    if response.headers.get("content-encoding", "").strip().lower() == "gzip":
        try:
            return gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise HTTPException(f"the answer is no gzip: {error}") from error
    return content


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
