"""Really started servers, each on a port and a data directory of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tasks.execution import supervisor
from tests.support.server import free_port
from tests.support.waiting import eventually

PATIENCE = 60.0
"""Far above what a start takes (2 s): a busy machine is no failure of ours."""


class Serve:
    """One `manage.py serve`; `output` is all that it has said so far, both streams."""

    def __init__(self, data_dir: Path, *arguments: str, **environment: str) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self._output = data_dir.parent / f"output-{self.port}"
        own = {"OPENCODE_DATA_DIR": str(data_dir), "OPENCODE_PORT": str(self.port)}
        with open(self._output, "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "serve", *arguments],
                cwd=settings.BASE_DIR,
                env={**os.environ, **own, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def status(self) -> dict[str, Any]:
        return supervisor.read_json(self.data_dir / "serve.json") or {}

    @property
    def children(self) -> dict[str, tuple[int, str]]:
        """Name to (pid, identity) of the processes that run now."""
        return {name: (it["pid"], it["identity"]) for name, it in self.status.get("children", {}).items()}

    def until_ready(self) -> Serve:
        def ready() -> bool:
            if self.process.poll() is not None:
                pytest.fail(f"serve ended with {self.process.returncode}: {self.output}")
            return bool(self.status.get("ready")) and "is ready" in self.output

        eventually("serve is ready", ready)
        return self

    def ended(self) -> int:
        """Waits for its end; returns the exit code."""
        return self.process.wait(PATIENCE)

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.ended()

    def http_status(self, path: str = "/admin/login/") -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().status

    def manage(self, *arguments: str) -> str:
        """What another `manage.py` command prints on this data directory."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=settings.BASE_DIR,
            env={**os.environ, "OPENCODE_DATA_DIR": str(self.data_dir)},
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
        ).stdout

    def submit(self, task_id: str, **orders: Any) -> None:
        """Queues a task for the small agent of the tests, which does as ordered."""
        new = f"NewTask(id={task_id!r}, type='testing', description={json.dumps(orders)!r})"
        self.manage("shell", "-c", f"from tasks.services import NewTask, submit; submit({new})")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.data_dir / "db.sqlite3", timeout=PATIENCE)) as database:
            return database.execute(query).fetchall()

    def agent(self) -> tuple[int, str]:
        """(pid, identity) of the one agent that runs, once it does."""
        query = "select agent_pid, agent_identity from tasks_run where state = 'running'"
        (found,) = eventually("an agent runs", lambda: self.rows(query))
        return int(found[0]), str(found[1])

    def clean_up(self) -> None:
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def gone(processes: dict[str, tuple[int, str]]) -> bool:
    return all(supervisor.identity(pid) != known for pid, known in processes.values())


@contextlib.contextmanager
def short_directory() -> Iterator[Path]:
    """Directly below the system's own: a Unix socket's path may have no more than 103 bytes."""
    path = Path(tempfile.mkdtemp(prefix="oc-")).resolve()
    yield path / "var"
    shutil.rmtree(path)
