"""How far the server may be reached, and by TLS: checked by everything that listens."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

from OpenSSL import SSL


class CannotServe(Exception):
    """The server cannot be started as it is configured; the message says why and what to do, in one line."""


def check_reach(host: str, *, authenticated: bool) -> None:
    """Without authentication the server listens on loopback only: anybody who reaches the port could start
    programs on this machine. Raises `CannotServe`."""
    if not authenticated and not is_loopback(host):
        raise CannotServe(
            f"OPENCODE_HOST is {host!r}: without authentication whoever reaches it could run agents here; "
            "set OPENCODE_AUTH=true, or use 127.0.0.1 and a tunnel (ssh -L) to reach it from elsewhere"
        )


def is_loopback(host: str) -> bool:
    """Whether a host is one that only this machine reaches. Raises `CannotServe` if it is no address."""
    _, address = resolve(host, 0)
    return ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback


def resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """The address to listen on. Raises `CannotServe`."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise CannotServe(
            f"OPENCODE_HOST is {host!r}: no address of this machine ({error.strerror})"
        ) from error
    # `localhost` names both 127.0.0.1 and ::1: the one that every client tries.
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, address


class TLSContext:
    """TLS 1.2 and newer with a certificate chain, as Twisted wants it: a factory of one context."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def getContext(self) -> SSL.Context:
        return self._context


def tls_context(certificate: str, key: str) -> TLSContext | None:
    """The context of two PEM files; None if there are none. Raises `CannotServe`."""
    if not certificate:
        return None
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    for name, path, use in (
        ("OPENCODE_TLS_CERT", certificate, context.use_certificate_chain_file),
        ("OPENCODE_TLS_KEY", key, context.use_privatekey_file),  # raises also if it is another certificate's
    ):
        try:
            use(path)
        except SSL.Error as error:
            # OpenSSL's own words stand at the end of its queue; a file that is not there has none.
            why = error.args[0][-1][-1] if error.args and error.args[0] else "it cannot be read"
            raise CannotServe(f"{name} is {path!r}: no PEM file that can be used ({why})") from error
    return TLSContext(context)
