"""From where, and how, the server is reached: addresses, networks, proxies, TLS."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from OpenSSL import SSL

from tests.opencode_site.access.conftest import get, handshake
from tests.support.certificates import Certificates, make_certificates
from tests.support.client import Client
from tests.support.raw import RawClient
from tests.support.server import ROOT, Server, free_port
from tests.support.stack import Stack


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def run(*argv: str, data_dir: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {"OPENCODE_DATA_DIR": str(data_dir), "OPENCODE_PORT": str(free_port())}
    return subprocess.run(
        [sys.executable, *argv],
        cwd=ROOT,
        env={**os.environ, **own, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


# --- Binding ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [("manage.py", "serve"), ("-m", "opencode_site.web")])
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_does_not_listen_beyond_loopback_without_authentication(
    argv: tuple[str, ...], host: str, tmp_path: Path
) -> None:
    done = run(*argv, data_dir=tmp_path, OPENCODE_HOST=host)
    assert done.returncode == 2
    assert f"OPENCODE_HOST is '{host}'" in done.stderr
    assert "OPENCODE_AUTH=true" in done.stderr
    assert (tmp_path / "db.sqlite3").stat().st_size == 0


def test_does_not_serve_an_inherited_socket_beyond_loopback(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        done = subprocess.run(
            [sys.executable, "-m", "opencode_site.web", "--fd", str(listener.fileno())],
            cwd=ROOT,
            env={**os.environ, "OPENCODE_DATA_DIR": str(tmp_path)},
            pass_fds=[listener.fileno()],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 2
    assert "OPENCODE_HOST is '0.0.0.0'" in done.stderr


def test_listens_beyond_loopback_with_authentication(certificates: Certificates) -> None:
    secure: dict[str, Any] = {
        "OPENCODE_TLS_CERT": str(certificates.chain),
        "OPENCODE_TLS_KEY": str(certificates.key),
    }
    open_to_all: dict[str, Any] = {"OPENCODE_HOST": "0.0.0.0", "OPENCODE_AUTH": "true"}
    with Stack(tls=certificates.trust(), **secure, **open_to_all) as stack:
        listening = [
            each for each in stack.web_process().net_connections() if each.status == psutil.CONN_LISTEN
        ]
        assert [each.laddr.ip for each in listening] == ["0.0.0.0"]
        assert handshake(stack) == 401
        with stack.connect(key=stack.api_key("read")) as client:
            assert client.request({"type": "ping"})["type"] == "pong"


# --- Networks and proxies -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def proxied() -> Iterator[Stack]:
    """Behind a proxy at 127.0.0.1, for two networks; the stack itself, which says nothing, is let in."""
    with Stack(
        OPENCODE_TRUSTED_PROXIES="127.0.0.1, 10.9.9.9",
        OPENCODE_ALLOWED_NETWORKS="127.0.0.1, 192.0.2.0/24, 2001:db8::/32",
        OPENCODE_AUTH="true",
        OPENCODE_FAILED_LOGINS_PER_MINUTE="2",
    ) as started:
        yield started


@pytest.mark.parametrize(
    ("told", "status"),
    [
        *(("192.0.2.7", 101), ("2001:db8::1", 101), ("::ffff:192.0.2.7", 101), ("6.6.6.6, 192.0.2.7", 101)),
        *(("192.0.2.7, 10.9.9.9", 101), ("192.0.3.7", 403), ("2001:db9::1", 403)),
        *(("192.0.2.7, 6.6.6.6", 403), ("192.0.2.7, 6.6.6.6, 10.9.9.9", 403), ("127.0.0.1, 6.6.6.6", 403)),
    ],
)
def test_believes_what_a_trusted_proxy_says(proxied: Stack, told: str, status: int) -> None:
    key = {"Authorization": f"Bearer {proxied.api_key('read')}", "X-Forwarded-For": told}
    assert handshake(proxied, **key) == status
    assert get(proxied, "/asyncapi.json", **key).status == (200 if status == 101 else 403)


def test_counts_failures_for_whom_the_proxy_names(proxied: Stack) -> None:
    wrong = {"Authorization": "Bearer x"}
    tries = [handshake(proxied, **wrong, **{"X-Forwarded-For": "192.0.2.66"}) for _ in range(3)]
    assert tries == [401, 401, 429]
    assert handshake(proxied, **wrong, **{"X-Forwarded-For": "192.0.2.67"}) == 401
    # Of IPv6 one customer has a whole network.
    tries = [handshake(proxied, **wrong, **{"X-Forwarded-For": f"2001:db8::{n}"}) for n in range(1, 4)]
    assert tries == [401, 401, 429]


def test_takes_the_scheme_from_a_trusted_proxy(proxied: Stack) -> None:
    key = {"Authorization": f"Bearer {proxied.api_key('read')}"}
    secure, plain = (f"{scheme}://127.0.0.1:{proxied.ports[0]}" for scheme in ("https", "http"))
    forwarded = {"X-Forwarded-Proto": "https"}
    assert handshake(proxied, **key, **forwarded, Origin=secure) == 101
    assert handshake(proxied, **key, **forwarded, Origin=plain) == 403
    assert handshake(proxied, **key, Origin=secure) == 403
    assert (
        f"wss://127.0.0.1:{proxied.ports[0]}"
        in get(proxied, "/", **key, **forwarded).headers["Content-Security-Policy"]
    )


def test_believes_nobody_unless_told_so() -> None:
    with Stack(OPENCODE_ALLOWED_NETWORKS="127.0.0.0/8") as stack:
        forged = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https", "X-Real-IP": "6.6.6.6"}
        own = f"127.0.0.1:{stack.ports[0]}"
        assert handshake(stack, **forged) == 101
        assert handshake(stack, **forged, Origin=f"https://{own}") == 403
        assert "wss://" not in get(stack, "/", **forged).headers["Content-Security-Policy"]
        assert handshake(stack, **{"X-Forwarded-Host": "evil.test"}) == 101
    with Stack(OPENCODE_ALLOWED_NETWORKS="192.0.2.0/24") as stack:
        forged = {"X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.1"}
        assert handshake(stack) == handshake(stack, **forged) == 403
        assert get(stack, "/", **forged).status == get(stack, "/static/admin/css/base.css").status == 403


# --- TLS --------------------------------------------------------------------------------------------------


def test_serves_everything_by_tls_under_serve(certificates: Certificates, tmp_path: Path) -> None:
    trust = certificates.trust()
    server = Server(
        tmp_path, OPENCODE_TLS_CERT=str(certificates.chain), OPENCODE_TLS_KEY=str(certificates.key)
    )
    server.url = f"wss://127.0.0.1:{server.port}/ws"
    with server:
        # The whole chain was sent: the client knows the root alone. The page is reached by its own origin.
        with Client(server.url, tls=trust, origin=f"https://127.0.0.1:{server.port}") as client:
            assert client.start("by-tls")["type"] == "task_started"
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=trust, timeout=20)
        connection.request("GET", "/admin/login/")
        page = connection.getresponse()
        page.read()
        assert page.status == 200
        assert page.headers["Strict-Transport-Security"] == "max-age=2592000"
        assert "Secure" in page.headers["Set-Cookie"]
        connection.close()
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"HTTP" not in plain.recv(100)
        assert "protocol version" in refusal_of_old_tls(server.port)


def refusal_of_old_tls(port: int) -> str:
    """What the server says to a client that speaks TLS 1.1 and would take any cipher."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    context.set_max_proto_version(SSL.TLS1_1_VERSION)
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.setblocking(True)
        connection = SSL.Connection(context, raw)
        connection.set_connect_state()
        with pytest.raises(SSL.Error) as refused:
            connection.do_handshake()
    return str(refused.value)


@pytest.mark.alone
def test_bounds_the_memory_of_a_slow_reader_behind_tls(certificates: Certificates) -> None:
    files: dict[str, Any] = {
        "OPENCODE_TLS_CERT": str(certificates.chain),
        "OPENCODE_TLS_KEY": str(certificates.key),
    }
    with Stack(tls=certificates.trust(), **files) as stack, stack.connect() as watcher:
        subscribe = {"type": "subscribe_to_updates", "channels": ["log_entries"]}
        before = stack.memory()
        with RawClient(stack.ports[0], tls=certificates.trust()) as slow:
            slow.send(json.dumps(subscribe).encode())
            began = time.monotonic()
            while not stack.groups():
                assert time.monotonic() - began < 10
            while stack.groups():
                stack.record(3000, size=1000)
                assert time.monotonic() - began < 25, "it was not cut"
            assert stack.memory() - before < 30_000_000
        assert watcher.request({"type": "ping"})["type"] == "pong"


@pytest.mark.parametrize(
    ("cert", "key", "words"),
    [
        ("chain.pem", "", "belong together"),
        ("", "key.pem", "belong together"),
        ("nowhere.pem", "key.pem", "OPENCODE_TLS_CERT is "),
        ("chain.pem", "root.pem", "OPENCODE_TLS_KEY is "),
        ("root.pem", "key.pem", "key values mismatch"),
    ],
)
def test_says_what_is_wrong_with_a_certificate(
    certificates: Certificates, tmp_path: Path, cert: str, key: str, words: str
) -> None:
    files = {
        name: str(certificates.key.parent / file) if file else ""
        for name, file in (("OPENCODE_TLS_CERT", cert), ("OPENCODE_TLS_KEY", key))
    }
    done = run("manage.py", "serve", data_dir=tmp_path, **files)
    assert done.returncode != 0
    assert words in done.stderr


@pytest.mark.parametrize("name", ["OPENCODE_ALLOWED_NETWORKS", "OPENCODE_TRUSTED_PROXIES"])
def test_says_what_is_wrong_with_a_network(name: str, tmp_path: Path) -> None:
    done = run("manage.py", "serve", data_dir=tmp_path, **{name: "10.0.0.0/33"})
    assert done.returncode != 0
    assert f"{name} has '10.0.0.0/33': expected" in done.stderr
