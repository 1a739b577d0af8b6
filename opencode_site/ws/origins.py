"""Who may talk to the server: it starts programs, and a browser carries any page's wishes to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host

Scope = dict[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
DEFAULT_PORTS = {"http": 80, "https": 443}
DENIAL = "websocket.http.response"
"""The ASGI extension that lets a handshake be refused with another status than 403."""


def to_known_host(application: Application) -> Application:
    """The pages, for requests that name an allowed host; others get HTTP 400.

    Django looks at the host only where something asks for it: static files would be served to any name.
    """

    async def check(scope: Scope, receive: Any, send: Any) -> None:
        if names_known_host(scope["headers"]):
            await application(scope, receive, send)
        else:
            await refuse_page(send, status=400, why="Unknown host")

    return check


def from_known_origin(application: Application) -> Application:
    """The WebSocket, for handshakes that are allowed; others get HTTP 403."""

    async def check(scope: Scope, receive: Any, send: Any) -> None:
        if is_allowed(scope["headers"], scheme=scope.get("scheme", "ws")):
            await application(scope, receive, send)
        else:
            await refuse(scope, receive, send, status=403)

    return check


async def refuse_page(send: Any, *, status: int, why: str) -> None:
    """Answers an HTTP request with a status and a line of text."""
    body = f"{why}\n".encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def refuse(scope: Scope, receive: Any, send: Any, *, status: int) -> None:
    """Answers a handshake with an HTTP status; with 403 where the server knows no other."""
    await receive()
    if DENIAL in scope.get("extensions", {}):
        await send({"type": f"{DENIAL}.start", "status": status, "headers": []})
        await send({"type": f"{DENIAL}.body", "body": b""})
    else:
        await send({"type": "websocket.close"})


def names_known_host(headers: Headers) -> bool:
    """Whether the request names one host, and one of ours.

    A page could reach us under a name of its own, as long as we answered to it (DNS rebinding).
    """
    hosts = header_values(headers, b"host")
    if len(hosts) != 1:
        return False
    domain, _ = split_domain_port(hosts[0])
    return bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)


def is_allowed(headers: Headers, *, scheme: str) -> bool:
    """Whether a handshake with these headers may be accepted: it names a host of ours, and its page is ours.

    Without an Origin it is no browser's. An Origin must be, in scheme, host and port, the very page that we
    serve, or one that OPENCODE_ALLOWED_ORIGINS lists; `null` and files are nobody.
    """
    if not names_known_host(headers):
        return False
    origins = header_values(headers, b"origin")
    if not origins:
        return True
    own = f"{'https' if scheme in ('https', 'wss') else 'http'}://{header_values(headers, b'host')[0]}"
    listed = [each.removesuffix("/") for each in settings.ALLOWED_ORIGINS]
    theirs = _origin(origins[0]) if len(origins) == 1 else None
    return theirs is not None and theirs in {_origin(each) for each in (own, *listed)}


def header_values(headers: Headers, name: bytes) -> list[str]:
    """Every value of a header, in order."""
    return [value.decode("latin-1") for key, value in headers if key.lower() == name]


def _origin(text: str) -> tuple[str, str, int] | None:
    """Scheme, host and port; None for what is no origin of a web page."""
    try:
        parts = urlsplit(text)
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError:
        return None
    if not scheme or not host or text.lower() != f"{scheme}://{parts.netloc.lower()}" or parts.username:
        return None
    return scheme, host, port or DEFAULT_PORTS.get(scheme, 0)
