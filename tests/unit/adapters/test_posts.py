"""Requests over real sockets: connections are kept, lost ones replaced, bad answers refused."""

import gzip
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from crossfade.adapters import posts
from crossfade.adapters.posts import Answer, PostFailed, Posts


class Server:
    """Answers each request on each connection with the next of ``answers`` ("" closes it)."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/rest"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                connection.settimeout(20)
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        while True:
            data = b""
            while b"\r\n\r\n" not in data:
                part = connection.recv(65_536)
                if not part:
                    return
                data += part
            head, _, body = data.partition(b"\r\n\r\n")
            self.heads.append(head)
            length = next(
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            )
            while len(body) < length:
                body += connection.recv(65_536)
            self.bodies.append(body)
            answer = self.answers.pop(0)
            if not answer:
                return
            connection.sendall(answer)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(20)


def answer(content: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        for one in (name, name.upper()):
            monkeypatch.delenv(one, raising=False)


@contextmanager
def serving(*answers: bytes) -> Iterator[tuple[Server, Posts]]:
    server = Server(*answers)
    made = Posts(server.url, {"apikey": "k"}, 20.0)
    try:
        yield server, made
    finally:
        made.close()
        server.close()


def test_a_connection_is_used_again() -> None:
    with serving(answer(b"[1]"), answer(b"{}", "404 Not Found"), answer(b"")) as (server, made):
        assert made.post("/rpc/a", b"one") == Answer(200, b"[1]")
        assert made.post("/rpc/b", b"two") == Answer(404, b"{}")
        assert made.post("/rpc/c", b"") == Answer(200, b"")
        assert server.connections == 1
        assert server.bodies == [b"one", b"two", b""]
        assert server.heads[0].startswith(b"POST /rest/rpc/a HTTP/1.1\r\n")
        assert b"apikey: k" in server.heads[1]


def test_one_that_was_closed_meanwhile_is_replaced_once() -> None:
    with serving(answer(b"1"), b"", answer(b"2"), b"") as (server, made):
        assert made.post("/", b"x").content == b"1"
        assert made.post("/", b"y").content == b"2"
        assert (server.connections, server.bodies) == (2, [b"x", b"y", b"y"])
    with serving(b"", answer(b"3")) as (server, made):
        # A new connection that is closed is an answer: nothing is sent twice behind one's back.
        with pytest.raises(PostFailed, match="RemoteDisconnected"):
            made.post("/", b"x")
        assert server.bodies == [b"x"]


def test_an_answer_that_closes_the_connection_leaves_none() -> None:
    with serving(answer(b"1", "200 OK", "Connection: close"), answer(b"2")) as (_, made):
        made.post("/", b"x")
        assert made._idle == []


def test_gzip() -> None:
    packed = answer(gzip.compress(b"[7]"), "200 OK", "Content-Encoding: gzip")
    broken = answer(b"no gzip", "200 OK", "Content-Encoding: gzip")
    with serving(packed, broken) as (server, made):
        assert made.post("/", b"x").content == b"[7]"
        assert b"Accept-Encoding: gzip" in server.heads[0]
        with pytest.raises(PostFailed, match="no gzip"):
            made.post("/", b"x")


def test_what_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posts, "MAX_ANSWER_BYTES", 10)
    with serving(b"SSH-2.0-x\r\n\r\n") as (_, made), pytest.raises(PostFailed):
        made.post("/", b"x")
    with serving(answer(b"x" * 11)) as (_, made), pytest.raises(PostFailed, match="longer than 10"):
        made.post("/", b"x")
    with serving() as (server, made):
        pass
    with pytest.raises(PostFailed, match="ConnectionRefused"):
        Posts(server.url, {}, 20.0).post("/", b"x")


def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        made = Posts(f"http://127.0.0.1:{silent.getsockname()[1]}", {}, 0.2)
        with pytest.raises(PostFailed, match="TimeoutError"):
            made.post("/", b"x")


def test_the_environments_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Server(answer(b"far"), answer(b"far"))
    monkeypatch.setenv("HTTP_PROXY", f"http://me:p%40ss@127.0.0.1:{proxy.port}")
    monkeypatch.setenv("http_proxy", f"http://me:p%40ss@127.0.0.1:{proxy.port}")
    made = Posts("http://project.test:8000/rest", {}, 20.0)
    assert made.post("/rpc", b"x").content == b"far"
    assert proxy.heads[0].startswith(b"POST http://project.test:8000/rest/rpc HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6cEBzcw==" in proxy.heads[0]
    made.close()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(answer(b"near")) as (_, direct):
        assert direct.post("/", b"x").content == b"near"
    proxy.close()


def test_https_through_a_proxy_asks_for_a_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{proxy.getsockname()[1]}")
        asked: list[bytes] = []

        def tunnel() -> None:
            connection, _ = proxy.accept()
            with connection:
                asked.append(connection.recv(65_536))
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

        thread = threading.Thread(target=tunnel)
        thread.start()
        with pytest.raises(PostFailed, match="403"):
            Posts("https://project.test/rest", {}, 20.0).post("/", b"x")
        thread.join(20)
    assert asked[0].startswith(b"CONNECT project.test:443 HTTP/1.")


@pytest.mark.parametrize("url", ["", "project.test", "ftp://x", "http:///rest"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ValueError, match="is not an http or https URL"):
        Posts(url, {}, 1.0)
