"""Settings that are unsafe, as Django's system checks: `manage.py check` and `doctor` tell the same."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from opencode_site.access.reach import CannotServe, is_loopback, tls_context


def check_settings(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> list[CheckMessage]:
    """Django's door to `unsafe_settings`."""
    return unsafe_settings()


def unsafe_settings() -> list[CheckMessage]:
    """Each setting, or combination of them, that opens a door; with an id, and what to do as its hint."""
    return [*_reach(), *_doors(), *_transport(), *_files(), *_agents()]


def _reach() -> Iterator[CheckMessage]:
    try:
        loopback = is_loopback(settings.HOST)
    except CannotServe as error:
        yield Error(str(error), id="opencode.E001")
        return
    if loopback:
        return
    if not settings.AUTH:
        yield Error(
            f"OPENCODE_HOST is {settings.HOST!r} and OPENCODE_AUTH is off: the server refuses to start, "
            "since whoever reached it could run agents here.",
            hint="Set OPENCODE_AUTH=true and make keys with `manage.py apikey create`.",
            id="opencode.E002",
        )
    if settings.DEBUG:
        yield Error(
            "DEBUG is on beyond loopback: its pages show settings and code.",
            hint="Set DEBUG=false.",
            id="opencode.E003",
        )
    if not settings.HTTPS:
        yield Warning(
            f"OPENCODE_HOST is {settings.HOST!r} and OPENCODE_HTTPS is off: keys and passwords can be read "
            "on their way.",
            hint="Set OPENCODE_TLS_CERT and _KEY, or OPENCODE_HTTPS=true behind a proxy with TLS.",
            id="opencode.W001",
        )


def _doors() -> Iterator[CheckMessage]:
    for host in settings.ALLOWED_HOSTS:
        if host.startswith(("*", ".")):
            yield Warning(
                f"OPENCODE_ALLOWED_HOSTS has {host!r}: a name that somebody else controls may lead to us "
                "(DNS rebinding).",
                hint="List the names themselves.",
                id="opencode.W002",
            )
    for origin in settings.ALLOWED_ORIGINS:
        if not origin.startswith(("http://", "https://")) or "*" in origin:
            yield Warning(
                f"OPENCODE_ALLOWED_ORIGINS has {origin!r}, which is no page of a web server.",
                hint="List origins as scheme://host:port.",
                id="opencode.W003",
            )
    if any(network.prefixlen == 0 for network in settings.TRUSTED_PROXIES):
        yield Error(
            "OPENCODE_TRUSTED_PROXIES names every address: anybody may claim to come from anywhere.",
            hint="List the proxy's own address.",
            id="opencode.E004",
        )


def _transport() -> Iterator[CheckMessage]:
    if settings.HTTPS and not settings.TLS_CERT and not settings.TRUSTED_PROXIES:
        yield Error(
            "OPENCODE_HTTPS is on, but nothing tells us that a request came by https: every page would "
            "redirect to itself.",
            hint="Set OPENCODE_TLS_CERT and _KEY, or the proxy's address in OPENCODE_TRUSTED_PROXIES.",
            id="opencode.E005",
        )
    try:
        tls_context(settings.TLS_CERT, settings.TLS_KEY)
    except CannotServe as error:
        yield Error(str(error), id="opencode.E006")
    broker = urlsplit(settings.REDIS_URL)
    local = broker.hostname in {None, "localhost", "127.0.0.1", "::1"}
    if not local and (broker.scheme == "redis" or not broker.password):
        yield Warning(
            f"REDIS_URL leads to {broker.hostname} without TLS or without a password: whoever reaches that "
            "server can wake and stop agents.",
            hint="Use rediss://:password@host.",
            id="opencode.W004",
        )


def _files() -> Iterator[CheckMessage]:
    private = {
        "OPENCODE_DATA_DIR": settings.DATA_DIR,
        "OPENCODE_TLS_KEY": Path(settings.TLS_KEY) if settings.TLS_KEY else None,
        ".env": settings.ENV_FILE,
    }
    for name, path in private.items():
        if path is not None and path.exists() and (mode := stat.S_IMODE(path.stat().st_mode)) & 0o077:
            wanted = "700" if path.is_dir() else "600"
            yield Warning(
                f"{name}: {path} is open to other users of this machine (mode {mode:o}).",
                hint=f"chmod {wanted} {path}",
                id="opencode.W005",
            )


def _agents() -> Iterator[CheckMessage]:
    if "*" in settings.AGENT_ENVIRONMENT:
        yield Warning(
            "OPENCODE_AGENT_ENV is `*`: agents see every variable of the server but its own secrets.",
            hint="List the variables that agents need.",
            id="opencode.W006",
        )
    data = settings.DATA_DIR.resolve()
    for root in settings.ALLOWED_ROOTS:
        if data.is_relative_to(root.resolve()):
            yield Warning(
                f"OPENCODE_ALLOWED_ROOTS has {root}, which holds the data directory {data}: a task may work "
                "on the server's own database and keys.",
                hint="Allow the projects' directories only, or move OPENCODE_DATA_DIR out of them.",
                id="opencode.W007",
            )
