"""A PostgreSQL of a test's own, which may be stopped like in a crash."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg
import pytest

from tests.support.server import free_port


def binaries() -> Path:
    """The directory with `initdb` and `pg_ctl`; skips the test where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "")]
    if not found[-1].is_file():
        pytest.skip("there is no PostgreSQL server to start: install the package postgresql (.ci/run does)")
    return found[-1].parent


class Cluster:
    """One throw-away server on a port of its own. PostgreSQL refuses to run as root: then as `postgres`."""

    def __init__(self, *, durable: bool = False) -> None:
        self._sync = "" if durable else "-F"
        self._bin = binaries()
        self._directory = Path(tempfile.mkdtemp(prefix="oc-pg-"))
        self._port = free_port()
        self.url = f"postgres://postgres@127.0.0.1:{self._port}/postgres"

    def __enter__(self) -> Cluster:
        if os.getuid() == 0:
            shutil.chown(self._directory, "postgres")
        self._run("initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync")
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._run("pg_ctl", "--mode=immediate", "--silent", "stop", check=False)
        shutil.rmtree(self._directory, ignore_errors=True)

    def start(self) -> None:
        """Returns when it answers."""
        options = f"-h 127.0.0.1 -p {self._port} -k {self._directory} {self._sync}"
        log = str(self._directory / "server.log")
        self._run("pg_ctl", "--wait", "--silent", f"--log={log}", f"--options={options}", "start")

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows, over a connection of its own."""
        with psycopg.connect(self.url) as connection:
            return connection.execute(statement).fetchall()

    def set_read_only(self, on: bool) -> None:
        """For every transaction that begins from now on, also of connections that are open."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            word = "on" if on else "off"
            connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {word}")
            connection.execute("SELECT pg_reload_conf()")

    def crash(self) -> None:
        """Stops it without letting anybody finish, as if the machine had lost its power."""
        self._run("pg_ctl", "--mode=immediate", "--wait", "--silent", "stop")

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        command = [str(self._bin / program), f"--pgdata={self._directory / 'data'}", *arguments]
        if os.getuid() == 0:
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        subprocess.run(command, check=check, cwd=self._directory, stdout=subprocess.DEVNULL, timeout=60)
