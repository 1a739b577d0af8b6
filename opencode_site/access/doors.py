"""ASGI applications around ours: where a request really comes from, and who may open the WebSocket."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from django.conf import settings
from django.http.cookie import parse_cookie

from opencode_site.access import attempts
from opencode_site.access.scopes import ANYBODY, Principal
from opencode_site.access.services import NotLoggedIn, Refused, holder_of, user_of
from opencode_site.ws.database import in_database
from opencode_site.ws.origins import Application, Headers, Scope, header_values, refuse, refuse_page

FORWARDED_SCHEMES = {"http": ("http", "ws"), "https": ("https", "wss")}


# --- Where it comes from ------------------------------------------------------------------------------------


def from_allowed_network(application: Application) -> Application:
    """Behind a proxy that OPENCODE_TRUSTED_PROXIES names, requests come from whom the proxy says; those from
    outside OPENCODE_ALLOWED_NETWORKS get HTTP 403."""

    async def check(scope: Scope, receive: Any, send: Any) -> None:
        believe_proxy(scope)
        if is_allowed_network(address_of(scope)):
            await application(scope, receive, send)
        elif scope["type"] == "websocket":
            await refuse(scope, receive, send, status=403)
        else:
            await refuse_page(send, status=403, why="Your address is not in OPENCODE_ALLOWED_NETWORKS")

    return check


def address_of(scope: Scope) -> str:
    """The client's address; empty where the transport knows none."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def believe_proxy(scope: Scope) -> None:
    """Sets the scope's client and scheme to what a trusted proxy says; from anybody else it is not read.

    The list of addresses is read from its end: each trusted hop vouches for the one before it, and whatever
    the client wrote itself stands further to the left.
    """
    if not _is_trusted(address_of(scope)):
        return
    told = ",".join(header_values(scope["headers"], b"x-forwarded-for")).split(",")
    for hop in reversed([part.strip() for part in told if part.strip()]):
        if _address(hop) is None:
            break
        scope["client"] = [hop, 0]
        if not _is_trusted(hop):
            break
    schemes = header_values(scope["headers"], b"x-forwarded-proto")
    if len(schemes) == 1 and (names := FORWARDED_SCHEMES.get(schemes[0].strip().lower())):
        scope["scheme"] = names[scope["type"] == "websocket"]


def is_allowed_network(address: str) -> bool:
    """Whether OPENCODE_ALLOWED_NETWORKS lets the address in."""
    return not settings.ALLOWED_NETWORKS or _is_in(address, settings.ALLOWED_NETWORKS)


def _is_trusted(address: str) -> bool:
    return _is_in(address, settings.TRUSTED_PROXIES)


def _is_in(address: str, networks: list[Any]) -> bool:
    parsed = _address(address)
    return parsed is not None and any(parsed in network for network in networks)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed


# --- Who it is ----------------------------------------------------------------------------------------------


def authenticated(application: Application) -> Application:
    """The WebSocket, for those who show a key or a login: `scope["principal"]`. Others get HTTP 401, and 429
    when they have failed too often; with OPENCODE_AUTH off everybody is let in."""

    async def check(scope: Scope, receive: Any, send: Any) -> None:
        if not settings.AUTH:
            await application(scope | {"principal": ANYBODY}, receive, send)
            return
        answer = await in_database(_identify, scope["headers"], address_of(scope))
        if isinstance(answer, Principal):
            await application(scope | {"principal": answer}, receive, send)
        else:
            await refuse(scope, receive, send, status=answer)

    return check


def _identify(headers: Headers, address: str) -> Principal | int:
    try:
        return _principal_of(headers)
    except NotLoggedIn:
        return 401
    except Refused as refusal:
        return 429 if attempts.count_failure(address, attempts.Kind.KEY, str(refusal)) else 401


def _principal_of(headers: Headers) -> Principal:
    """By a key, or by a login's cookie; that counts only with an Origin, which has been found to be allowed:
    it is a browser's, and a browser tells which page it acts for."""
    if secret := bearer_token(header_values(headers, b"authorization")):
        return holder_of(secret)
    cookies = parse_cookie("; ".join(header_values(headers, b"cookie")))
    session = cookies.get(settings.SESSION_COOKIE_NAME, "")
    if session and header_values(headers, b"origin"):
        return user_of(session)
    raise NotLoggedIn("a session without an Origin" if session else "no API key and no login")


def bearer_token(authorization: list[str]) -> str:
    """The token of the one Authorization header there is; empty if there is none. Raises `Refused`."""
    if not authorization:
        return ""
    scheme, _, token = authorization[0].partition(" ")
    if len(authorization) > 1 or scheme.lower() != "bearer" or not token.strip():
        raise Refused("the Authorization header is not `Bearer <key>`")
    return token.strip()
