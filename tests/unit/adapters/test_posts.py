"""Requests over real sockets: connections are kept, lost ones replaced, bad answers refused."""

import gzip
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from crossfade.adapters import posts
from crossfade.adapters.posts import Answer, PostFailed, Posts

CLOSED = b"closed after the answer before"


class Server:
    """Answers each request on each connection with the next of ``answers`` ("" closes it)."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.closed = threading.Event()
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
            if self.answers[:1] == [CLOSED]:
                del self.answers[0]
                connection.shutdown(socket.SHUT_RDWR)
                self.closed.set()
                return

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


def test_one_that_was_closed_meanwhile_is_replaced() -> None:
    with serving(answer(b"1"), CLOSED, answer(b"2")) as (server, made):
        assert made.post("/", b"x").content == b"1"
        assert server.closed.wait(20)
        assert made.post("/", b"y").content == b"2"
        assert (server.connections, server.bodies) == (2, [b"x", b"y"])


def test_nothing_is_sent_twice_behind_ones_back() -> None:
    with serving(b"", answer(b"3")) as (server, made):
        with pytest.raises(PostFailed, match="RemoteDisconnected"):
            made.post("/", b"x")
        assert server.bodies == [b"x"]


def test_no_redirection_is_followed() -> None:
    there = answer(b"", "307 Temporary Redirect", "Location: /elsewhere")
    with serving(there, answer(b"2")) as (server, made):
        assert made.post("/", b"x").status == 307
        assert server.bodies == [b"x"]


def test_a_cut_answer_is_none_and_its_connection_is_not_kept() -> None:
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[1]"
    with serving(cut, CLOSED, answer(b"2")) as (server, made):
        with pytest.raises(PostFailed, match="IncompleteRead"):
            made.post("/", b"x")
        assert made.post("/", b"y").content == b"2"
        assert server.connections == 2


def test_an_answer_that_closes_the_connection_leaves_none() -> None:
    closing = answer(b"1", "200 OK", "Connection: close")
    with serving(closing, CLOSED, answer(b"2")) as (server, made):
        assert [made.post("/", b"x").content for _ in range(2)] == [b"1", b"2"]
        assert server.connections == 2


def test_gzip() -> None:
    packed = answer(gzip.compress(b"[7]"), "200 OK", "Content-Encoding: gzip")
    broken = answer(b"no gzip", "200 OK", "Content-Encoding: gzip")
    with serving(packed, broken) as (server, made):
        assert made.post("/", b"x").content == b"[7]"
        assert b"accept-encoding: gzip" in server.heads[0]
        with pytest.raises(PostFailed, match="DecodeError"):
            made.post("/", b"x")


def test_what_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posts, "MAX_ANSWER_BYTES", 10)
    with serving(b"SSH-2.0-x\r\n\r\n") as (_, made), pytest.raises(PostFailed):
        made.post("/", b"x")
    with serving(answer(b"x" * 11)) as (_, made), pytest.raises(PostFailed, match="longer than 10"):
        made.post("/", b"x")
    with serving() as (server, made):
        pass
    with pytest.raises(PostFailed, match="refused"):
        Posts(server.url, {}, 20.0).post("/", b"x")


def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        made = Posts(f"http://127.0.0.1:{silent.getsockname()[1]}", {}, 0.2)
        with pytest.raises(PostFailed, match="timed out"):
            made.post("/", b"x")


def test_the_environments_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Server(answer(b"far"), answer(b"far"))
    monkeypatch.setenv("HTTP_PROXY", f"http://me:p%40ss@127.0.0.1:{proxy.port}")
    monkeypatch.setenv("http_proxy", f"http://me:p%40ss@127.0.0.1:{proxy.port}")
    made = Posts("http://project.test:8000/rest", {}, 20.0)
    assert made.post("/rpc", b"x").content == b"far"
    assert proxy.heads[0].startswith(b"POST http://project.test:8000/rest/rpc HTTP/1.1\r\n")
    assert b"proxy-authorization: Basic bWU6cEBzcw==" in proxy.heads[0]
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


def test_a_proxy_of_another_kind_is_named_without_its_login(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("all_proxy", "socks5://me:secret@127.0.0.1:1080")
    with pytest.raises(ValueError, match=r"socks5://127.0.0.1:1080 .* is not http") as caught:
        Posts("http://project.test", {}, 1.0)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["secret\r", "secret\n", "sécret"])
def test_a_key_that_no_header_can_hold_is_not_told(key: str) -> None:
    with pytest.raises(ValueError, match="apikey has a character") as caught:
        Posts("http://project.test", {"apikey": key}, 1.0)
    assert "cret" not in str(caught.value)


def test_a_host_that_can_not_be_one() -> None:
    with pytest.raises(PostFailed):
        Posts("http://.project.test", {}, 1.0).post("/", b"")


def _own_certificate() -> bytes:
    """A key for ``localhost``, and a certificate that nobody but itself has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)


def test_a_certificate_of_nobody_is_refused(tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes(_own_certificate())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                context.wrap_socket(connection, server_side=True)

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(PostFailed, match="CERTIFICATE_VERIFY_FAILED"):
            Posts(f"https://localhost:{server.getsockname()[1]}", {}, 20.0).post("/", b"")
        thread.join(20)


@pytest.mark.parametrize("url", ["", "project.test", "ftp://x", "http:///rest"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ValueError, match="is not an http or https URL"):
        Posts(url, {}, 1.0)
