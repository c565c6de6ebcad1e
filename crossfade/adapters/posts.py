"""POST requests to one server over kept connections, from any number of threads.

For a command that must be quick: ``urllib3`` is imported in a third of the time that the full
client takes, which is as long as a check of the last five minutes takes.
"""

import os
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import certifi
import urllib3
from urllib3.exceptions import HTTPError, ProxySchemeUnknown
from urllib3.util import Timeout, make_headers

__all__ = ["MAX_ANSWER_BYTES", "Answer", "PostFailed", "Posts"]

MAX_ANSWER_BYTES = 64_000_000
"""Longest answer that is taken, unpacked: the longest that is asked for is some 20 MB."""
KEPT_CONNECTIONS = 8
"""Connections that are kept for the next request; more than these are closed after theirs."""


class PostFailed(Exception):
    """There is no answer; the message says why."""


class Answer(NamedTuple):
    """Status and content of an answer, whatever the status."""

    status: int
    content: bytes


class Posts:
    """Sends requests to the server of ``url``; any number of threads may.

    A connection is kept for each request that is under way at the same time, and used again;
    nothing is sent twice and no redirection is followed. The environment's proxies are used, as
    by every HTTP client, and the certificate authorities that ``SSL_CERT_FILE`` or
    ``SSL_CERT_DIR`` names, or else those that all other clients here trust.

    Args:
        url: ``http`` or ``https``, with a host; paths are below it.
        headers: of every request.
        timeout_s: longest wait for a connection, and for each part of an answer.

    Raises:
        ValueError: it is no such URL, a header can not be sent, or the proxy can not be used.
            The message holds neither a header's value nor a proxy's login.
    """

    def __init__(self, url: str, headers: Mapping[str, str], timeout_s: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not an http or https URL with a host")
        for name, value in headers.items():
            if not value.isascii() or not value.isprintable():
                raise ValueError(f"{name} has a character that no header may have; a line's end?")
        self._url = url.rstrip("/")
        self._headers = {**headers, **make_headers(accept_encoding="gzip")}
        self._pools = _pools(parts.scheme, parts.netloc.rpartition("@")[2], timeout_s)

    def post(self, path: str, content: bytes) -> Answer:
        """The answer to one request.

        Raises:
            PostFailed: the server can not be reached, does not answer in time, or not in HTTP.
        """
        try:
            response = self._pools.request(
                "POST",
                self._url + path,
                body=content,
                headers=self._headers,
                preload_content=False,
            )
            try:
                answer = Answer(response.status, response.read(MAX_ANSWER_BYTES + 1))
            except BaseException:
                response.close()
                raise
            if len(answer.content) > MAX_ANSWER_BYTES:
                response.close()
                raise PostFailed(f"the answer is longer than {MAX_ANSWER_BYTES:,} bytes")
        except (HTTPError, OSError, UnicodeError) as error:
            raise PostFailed(f"{type(error).__name__}: {error}") from error
        response.release_conn()
        return answer

    def close(self) -> None:
        """Close the connections; one that is in use is closed when its answer has come."""
        self._pools.clear()


def _pools(scheme: str, place: str, timeout_s: float) -> urllib3.PoolManager:
    options: dict[str, Any] = {
        "timeout": Timeout(timeout_s),
        "retries": False,
        "maxsize": KEPT_CONNECTIONS,
    }
    if scheme == "https":
        named = "SSL_CERT_FILE" in os.environ or "SSL_CERT_DIR" in os.environ
        authorities = None if named else certifi.where()
        options["ssl_context"] = ssl.create_default_context(cafile=authorities)
    proxy = _proxy_of(scheme, place)
    if proxy is None:
        return urllib3.PoolManager(**options)
    parts = urlsplit(proxy if "//" in proxy else f"http://{proxy}")
    headers = None
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers = make_headers(proxy_basic_auth=login)
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    try:
        return urllib3.ProxyManager(address, proxy_headers=headers, **options)
    except ProxySchemeUnknown as error:
        raise ValueError(f"the proxy {address} of the environment is not http or https") from error


def _proxy_of(scheme: str, place: str) -> str | None:
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    # Only here: it takes a while to import.
    from urllib.request import getproxies, proxy_bypass

    found = getproxies()
    url = found.get(scheme) or found.get("all")
    return None if not url or proxy_bypass(place) else url
