"""Who is let in, over HTTP and to the WebSocket, and what else it answers at the door."""

from __future__ import annotations

import http.client
import itertools
import json
import socket
from collections.abc import Iterator

import pytest
from django.test import override_settings
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from opencode_site.ws.origins import is_allowed
from tests.support.stack import Stack

OWN = ["localhost", "127.0.0.1", "[::1]"]


def handshake(host: str | None, *origins: str, scheme: str = "ws") -> bool:
    headers = [] if host is None else [(b"host", host.encode("latin-1"))]
    headers += [(b"origin", origin.encode("latin-1")) for origin in origins]
    return is_allowed(headers, scheme=scheme)


@pytest.mark.parametrize("host", [host + port for host in OWN for port in ("", ":8080", ":1")])
def test_lets_a_client_without_origin_in_at_every_name_of_its_own(host: str) -> None:
    assert handshake(host)
    assert handshake(host, f"http://{host}")
    assert handshake(host.upper(), f"http://{host.upper()}")


@pytest.mark.parametrize(
    "host",
    [
        *(None, "", "evil.test", "evil.test:8080", "localhost.evil.test", "127.0.0.1.evil.test"),
        *("127.0.0.2", "0.0.0.0", "[::2]", "2130706433", "localhost:8080:8080", "localhost:x", "a@localhost"),
        *("localhost,evil.test", "localhost evil.test", "localhost\t", "evil.test#localhost", "127.1"),
    ],
)
def test_refuses_every_other_name(host: str | None) -> None:
    assert not handshake(host)
    assert not handshake(host, f"http://{host}")


@pytest.mark.parametrize(
    "origin",
    [
        *("null", "NULL", "file://", "file:///", "", "*", "about:blank", "data:text/html,x", "http://", "//"),
        *("http://localhost", "http://localhost:3000", "https://localhost:8080", "ws://localhost:8080"),
        *("http://127.0.0.1:8080", "http://[::1]:8080", "http://localhost:8080.evil.test"),
        *("http://evil.test", "http://evil.test:8080", "http://localhost:8080@evil.test"),
        *("http://evil.test/http://localhost:8080", "http://a@localhost:8080", "http://localhost:8080/"),
        *("http://localhost:8080?x", "http://localhost:8080#x", "http://localhost:08080x", "localhost:8080"),
        *("chrome-extension://abcdef", "moz-extension://abcdef", "http://localhost:8080,http://evil.test"),
        *("http://localhost:8080 http://evil.test", "http://localh\xf6st:8080", "http://localhost:99999"),
    ],
)
def test_refuses_every_page_that_is_not_its_own(origin: str) -> None:
    assert not handshake("localhost:8080", origin)


def test_refuses_two_origins_and_two_hosts() -> None:
    assert not handshake("localhost:8080", "http://localhost:8080", "http://localhost:8080")
    assert not is_allowed([(b"host", b"localhost:8080"), (b"host", b"localhost:8080")], scheme="ws")


def test_knows_the_default_ports_and_the_scheme_that_it_was_reached_by() -> None:
    assert handshake("localhost", "http://localhost:80")
    assert handshake("localhost", "https://localhost", scheme="wss")
    assert not handshake("localhost", "http://localhost", scheme="wss")


@override_settings(
    ALLOWED_ORIGINS=["https://agents.example", "http://other.example:3000/", "chrome-extension://abc", "null"]
)
def test_lets_listed_pages_in_and_nobody_like_them() -> None:
    for origin in ("https://agents.example", "http://other.example:3000", "chrome-extension://abc"):
        assert handshake("localhost:8080", origin)
        assert not handshake("evil.test", origin)
    for origin in ("http://agents.example", "https://agents.example:8443", "chrome-extension://abd", "null"):
        assert not handshake("localhost:8080", origin)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as started:
        yield started


def get(stack: Stack, path: str, *hosts: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", stack.ports[0], timeout=10)
    connection.putrequest("GET", path, skip_host=True)
    for host in hosts:
        connection.putheader("Host", host)
    connection.endheaders()
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


@pytest.mark.parametrize(
    "path", ["/admin/login/", "/static/admin/css/base.css", "/nowhere", "/ws", "/static/../x"]
)
def test_answers_http_at_its_own_names_only(stack: Stack, path: str) -> None:
    for host in ("evil.test", f"evil.test:{stack.ports[0]}", ""):
        assert get(stack, path, host) == 400
    assert get(stack, path) == 400
    assert get(stack, path, f"127.0.0.1:{stack.ports[0]}") in {200, 301, 302, 404}
    assert get(stack, path, f"localhost:{stack.ports[0]}") in {200, 301, 302, 404}


@pytest.mark.parametrize("path", ["/ws", "/ws/", "/ws?a=b"])
def test_serves_the_protocol_at_its_path(stack: Stack, path: str) -> None:
    with connect(f"ws://127.0.0.1:{stack.ports[0]}{path}") as client:
        assert json.loads(client.recv(timeout=10))["type"] == "connection_established"


def test_refuses_handshakes_with_the_right_status(stack: Stack) -> None:
    own = f"http://127.0.0.1:{stack.ports[0]}"
    cases = [
        *((path, {}, 404) for path in ("/", "/wsx", "/ws/x", "/admin/", "/WS", "/ws%00")),
        *(
            ("/ws", {"Origin": origin}, 403)
            for origin in ("null", "http://evil.test", "http://127.0.0.1:1", "file://")
        ),
    ]
    for path, headers, status in cases:
        with (
            pytest.raises(InvalidStatus) as refused,
            connect(f"ws://127.0.0.1:{stack.ports[0]}{path}", additional_headers=headers),
        ):
            pass
        assert refused.value.response.status_code == status, (path, headers)
    with connect(f"ws://127.0.0.1:{stack.ports[0]}/ws", additional_headers={"Origin": own}):
        pass
    assert "Traceback" not in stack.log.read_text()


def test_survives_handshakes_that_are_none(stack: Stack) -> None:
    good = b"GET /ws HTTP/1.1\r\nHost: localhost\r\n"
    for broken in itertools.chain(
        [b"\x16\x03\x01\x02\x00\x01", b"GET /ws\r\n\r\n", b"\r\n\r\n", good],
        [good + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"],
        [good + b"Upgrade: websocket\r\nSec-WebSocket-Version: 99\r\n\r\n"],
    ):
        with socket.create_connection(("127.0.0.1", stack.ports[0]), timeout=10) as raw:
            raw.sendall(broken)
    with stack.connect() as client:
        assert client.request({"type": "ping"})["type"] == "pong"
    assert "Traceback" not in stack.log.read_text()
