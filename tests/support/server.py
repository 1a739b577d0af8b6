"""A really started server: `manage.py serve` as its user would start it, in directories of its own.

Not for the first time, except with PostgreSQL: tests/opencode_site/serve has first starts.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from types import TracebackType

import psutil

from tests.isolation import web_server
from tests.support.client import Client
from tests.support.migrated import ADMIN_PASSWORD, install_database

ROOT = Path(__file__).resolve().parents[2]
READY_WITHIN = 60.0
PORTS = range(20_000, 32_000)
"""Below those that Linux gives to outgoing connections: none of these takes one before its server listens."""
WORKERS = 16
"""At most so many workers of pytest-xdist have ports of their own."""


def _ports() -> Iterator[int]:
    """Those of this worker, again and again, from anywhere: other runs of the tests may be under way."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    mine = PORTS[worker % WORKERS :: WORKERS]
    begin = secrets.randbelow(len(mine))
    return cycle([*mine[begin:], *mine[:begin]])


_candidates = _ports()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Connections that ended a moment ago are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port that nobody listens on, and that no other worker is given."""
    return next(filter(_is_free, _candidates))


class Server:
    """One `manage.py serve` with its data directory; may be started again after it was stopped or killed."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.data_dir = directory / "var"
        self.project_dir = directory / "project"
        self.project_dir.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"ws://127.0.0.1:{self.port}/ws"
        self.output = ""
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "OPENCODE_DATA_DIR": str(self.data_dir),
            "OPENCODE_PROJECT_DIR": str(self.project_dir),
            "OPENCODE_PORT": str(self.port),
            "OPENCODE_MESSAGES_PER_MINUTE": "0",
            "OPENCODE_TASKS_PER_MINUTE": "0",
            "OPENCODE_ADMIN_PASSWORD": ADMIN_PASSWORD,
            **web_server(),
            **environment,
        }
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Server:
        self.start("--stop-agents")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, *options: str) -> None:
        """Starts it and waits until its screen shows the WebSocket's URL."""
        if "DATABASE_URL" not in self.environment and not self.data_dir.exists():
            install_database(self.data_dir)
        log = self.data_dir.parent / "serve.out"
        with log.open("w") as out:
            self._process = subprocess.Popen(
                [sys.executable, "manage.py", "serve", *options],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
            )
        deadline = time.monotonic() + READY_WITHIN
        while self.url not in (said := log.read_text()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"serve did not start: {said}")
            time.sleep(0.02)
        self.output = said

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None
        return self._process

    def stop(self, *, patience: float = 30.0) -> int:
        """Ctrl-C; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(patience)
        finally:
            self.output = (self.data_dir.parent / "serve.out").read_text()

    def child(self, name: str) -> int:
        """The pid of serve's child `web`, `worker` or `valkey`, as serve itself wrote it down."""
        status = json.loads((self.data_dir / "serve.json").read_text())
        pid: int = status["children"][name]["pid"]
        return pid

    def kill_child(self, name: str, signum: signal.Signals = signal.SIGKILL) -> None:
        """Ends a child of serve, by the pid that serve wrote down, after a look at its parent; returns when
        there is another one."""
        pid = self.child(name)
        assert psutil.Process(pid).ppid() == self.process.pid
        os.kill(pid, signum)
        deadline = time.monotonic() + 30
        while self.child(name) == pid:
            assert time.monotonic() < deadline, f"{name} was not restarted"
            time.sleep(0.02)

    def connect(self, *, patience: float = 30.0) -> Client:
        """A new client; tries again while the web process is being restarted."""
        deadline = time.monotonic() + patience
        while True:
            try:
                client = Client(self.url)
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                client.wait(lambda message: message["type"] == "connection_established")
                return client
