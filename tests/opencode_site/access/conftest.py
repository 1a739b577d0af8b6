"""Two really running web processes that ask for keys, and what an attacker from outside would send."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest
from websockets.exceptions import InvalidStatus

from tests.support.stack import Stack
from tests.support.tls import connect


@pytest.fixture(scope="package")
def guarded() -> Iterator[Stack]:
    """A server that asks for authentication; nobody is locked out by the failures of other tests."""
    with Stack(webs=2, OPENCODE_AUTH="true", OPENCODE_FAILED_LOGINS_PER_MINUTE="0") as started:
        started.manage("createsuperuser", "--noinput", "--username", "root", "--email", "")
        started.python(
            "from django.contrib.auth.models import User\n"
            "root = User.objects.get(username='root'); root.set_password('battery staple'); root.save()\n"
            "User.objects.create_user('looker', password='battery staple')\n"
            "User.objects.create_user('worker', password='battery staple', is_staff=True)\n"
        )
        yield started


def handshake(stack: Stack, number: int = 0, /, **headers: str) -> int:
    """The HTTP status that a handshake with these headers is answered with."""
    try:
        with connect(stack.url(number), additional_headers=headers, tls=stack.tls, open_timeout=20):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


def get(
    stack: Stack, path: str, number: int = 0, /, method: str = "GET", body: str = "", **headers: str
) -> http.client.HTTPResponse:
    """The answer to one HTTP request; its body is read into `.text`."""
    port = stack.ports[number]
    connection = (
        http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=stack.tls)
        if stack.tls
        else http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    )
    connection.request(method, path, body=body or None, headers=headers)
    response = connection.getresponse()
    response.text = response.read().decode()  # type: ignore[attr-defined]
    connection.close()
    return response
