"""The whole server, as `serve` starts it, for a measurement: on SQLite or on a PostgreSQL of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.wire import Broken, Wire
from tests.chaos.postgres import Cluster
from tests.support.server import ROOT, Server

AGENT = Path(__file__).with_name("agent.py")


@contextmanager
def database(name: str) -> Iterator[dict[str, str]]:
    """What the server's environment needs; PostgreSQL waits for the disk at each commit, as by default."""
    if name == "SQLite":
        yield {}
    else:
        with Cluster(durable=True) as cluster:
            yield {"DATABASE_URL": cluster.url}


@contextmanager
def served(name: str, **environment: str) -> Iterator[Server]:
    """A server on the database `SQLite` or `PostgreSQL`, limits lifted, with the agent of the benchmarks."""
    with (
        database(name) as url,
        tempfile.TemporaryDirectory(prefix="oc-bench-") as directory,
        Server(
            Path(directory),
            OPENCODE_BIN=str(AGENT),
            OPENCODE_MAX_CONNECTIONS="0",
            OPENCODE_KILL_GRACE="1",
            **url,
            **environment,
        ) as server,
    ):
        yield server


def python(server: Server, *arguments: str) -> str:
    """Runs Python in a process of its own with the server's settings; returns what it printed."""
    environment = {**server.environment, "DJANGO_SETTINGS_MODULE": "opencode_site.settings"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def start(wire: Wire, task_id: str, *, lines: int, per_second: float = 0) -> None:
    """Submits a task for the agent; returns when it is stored."""
    orders = json.dumps({"lines": lines, "per_second": per_second})
    task = {"id": task_id, "type": "testing", "priority": "medium", "description": orders}
    reply = wire.ask({"type": "start_task", "task": task})
    if reply["type"] != "task_started" or reply["task_id"] != task_id:
        raise Broken(f"the task {task_id} was answered with {reply}")


def finished(wire: Wire, task_id: str) -> dict[str, Any]:
    """Waits for the end of a task, on a connection that has subscribed; returns its only run."""
    ends = ("completed", "failed", "cancelled")
    wire.until(
        lambda message: (
            message["type"] == "task_status_update"
            and message["task_id"] == task_id
            and message["new_status"] in ends
        )
    )
    task = wire.ask({"type": "get_task_status", "task_id": task_id})["task"]
    if task["status"] != "completed" or len(task["runs"]) != 1:
        raise Broken(f"the task {task_id} came to its end as {task}")
    run: dict[str, Any] = task["runs"][0]
    return run
