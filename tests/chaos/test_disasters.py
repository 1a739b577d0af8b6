"""The disk is full, the clock steps, the database is away: a clear error, nothing lost, no hand needed."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.postgres import Cluster
from tests.chaos.subscriber import GOES_ON_WITHIN, RESYNCHRONISED_WITHIN, Subscriber, cursors
from tests.support import agent
from tests.support.client import Client
from tests.support.disks import fill, mounted
from tests.support.server import Server
from tests.support.waiting import eventually

FINISHED = ("completed", "failed", "cancelled")
AGENT = {
    "OPENCODE_BIN": str(Path(agent.__file__)),
    "OPENCODE_KILL_GRACE": "1",
    "OPENCODE_SAMPLE_INTERVAL": "1",
}


until = partial(eventually, patience=60.0)


def said(client: Client, task_id: str) -> list[str]:
    return [entry["message"] for entry in client.logs(task_id) if entry["message"].startswith("line ")]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MB of its own."""
    directory = tmp_path / "disk"
    directory.mkdir()
    with mounted(directory, kib=48 * 1024):
        yield directory


@pytest.mark.slow
def test_loses_nothing_when_the_disk_is_full_and_goes_on_when_it_is_not(small_disk: Path) -> None:
    with Server(small_disk, **AGENT) as server, server.connect() as client:
        client.request({"type": "subscribe_to_updates", "channels": ["task_status"]})
        # Here the disk is to fill up while agents work: they are not to be stopped before.
        allow_a_full_disk(server)
        client.start("begun", description=json.dumps({"lines": 600, "pause": 0.1}))
        client.until_status("begun", "running")
        ballast = small_disk / "ballast"
        fill(ballast)
        refused = client.start("refused", description="{}")
        assert (refused["type"], refused["code"]) == ("error", "FILESYSTEM_ERROR"), refused
        assert client.request({"type": "ping"})["type"] == "pong"
        time.sleep(2)  # the agent writes into the full disk meanwhile
        ballast.unlink()
        until("no task is taken", lambda: client.start("refused", description="{}")["type"] == "task_started")
        for task_id in ("begun", "refused"):
            client.rewind()
            assert client.until_status(task_id, *FINISHED)["status"] in FINISHED
        lines = said(client, "begun")
        # What the agent could not write it has not written: but what is there is true, once and in order.
        numbers = [int(line.split()[1]) for line in lines]
        assert numbers == sorted(set(numbers))
        refused = client.task("refused")
        assert refused["status"] == "completed", refused


def allow_a_full_disk(server: Server) -> None:
    """As the admin's page does."""
    row = "INSERT INTO monitoring_upkeep (id, min_free_mb, keep_logs_days) VALUES (1, 0, 90)"
    with closing(sqlite3.connect(server.data_dir / "db.sqlite3", timeout=10)) as connection, connection:
        connection.execute(row)


@pytest.mark.slow
def test_says_so_and_loses_nothing_when_sqlite_cannot_be_written_for_a_while(tmp_path: Path) -> None:
    data, marker = tmp_path / "data", tmp_path / "read-only"
    data.mkdir()
    environment = {
        "LD_PRELOAD": str(to_preload("readonly", tmp_path)),
        "READONLY_FILES": str(data / "var" / "db.sqlite3"),
        "READONLY_WHILE": str(marker),
    }
    with Server(data, **AGENT, **environment) as server, server.connect() as client:
        assert server.data_dir == data / "var"
        client.request({"type": "subscribe_to_updates", "channels": ["task_status", "log_entries"]})
        client.start("steady", description=json.dumps({"lines": 200, "pause": 0.1}))
        client.wait(lambda message: message["type"] == "log_entry" and message["log"]["message"] == "line 9")
        marker.touch()
        error = client.start("nobody")
        assert error["code"] == "DATABASE_ERROR", error
        assert client.task("steady")["status"] == "running"
        time.sleep(5)  # the agent goes on, and nobody can store what it says
        assert client.start("nobody")["code"] == "DATABASE_ERROR"
        marker.unlink()
        began = time.monotonic()
        submit(client, "after", description='{"lines": 1}', priority="high")
        until("work does not go on", partial(is_completed, client, "after"))
        assert time.monotonic() - began < GOES_ON_WITHIN
        client.rewind()
        task = client.until_status("steady", *FINISHED)
        assert (task["status"], len(task["runs"])) == ("completed", 1), task
        assert said(client, "steady") == [f"line {number}" for number in range(200)]
        assert client.request({"type": "get_task_status", "task_id": "nobody"})["code"] == "TASK_NOT_FOUND"


def to_preload(name: str, directory: Path) -> Path:
    """The library made of `name`.c, for processes to see another world than there is."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to make a library with: install gcc (.ci/run does)")
    library = directory / f"{name}.so"
    source = Path(__file__).with_name(f"{name}.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source)], check=True)
    return library


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """A library to preload, which sets the wall clock of a process by the seconds in the file beside it."""
    library = to_preload("clock", tmp_path)
    library.with_suffix(".offset").write_text("0")
    return library


@pytest.mark.slow
def test_works_on_when_the_clock_steps_back_an_hour_and_forward_two(tmp_path: Path, clock: Path) -> None:
    offset = clock.with_suffix(".offset")
    environment = {"LD_PRELOAD": str(clock), "CLOCK_OFFSET": str(offset)}
    with Server(tmp_path, **AGENT, **environment) as server, server.connect() as client:
        client.request({"type": "subscribe_to_updates", "channels": ["task_status", "system_resources"]})
        client.start("steady", description=json.dumps({"lines": 1200, "pause": 0.1}))
        client.until_status("steady", "running")
        for step in ("-3600", "+3600"):
            offset.write_text(step)
            for _ in range(3):
                client.wait(lambda message: message["type"] == "resource_update")
            client.start({"-3600": "after-back", "+3600": "after-on"}[step], description="{}")
        for task_id in ("steady", "after-back", "after-on"):
            client.rewind()
            task = client.until_status(task_id, *FINISHED)
            assert task["status"] == "completed", task
        assert said(client, "steady")[-1] == "line 1199"
        assert len(client.task("steady")["runs"]) == 1


@pytest.mark.slow
@pytest.mark.postgres
def test_loses_nothing_when_postgresql_is_stopped_at_once_under_load(tmp_path: Path) -> None:
    times = 20 if os.environ.get("CHAOS_FULL") else 3
    with Cluster() as cluster, Server(tmp_path, **AGENT, DATABASE_URL=cluster.url) as server:
        subscriber = Subscriber(server.url)
        subscriber.start()
        until("no subscription", lambda: subscriber.began)
        names = [f"task-{number}" for number in range(6 * times)]
        with server.connect() as client:
            for number in range(times):
                for name in names[6 * number : 6 * number + 6]:
                    submit(client, name)
                cluster.crash()
                error = client.start("nobody")
                assert error["code"] == "DATABASE_ERROR", error
                cluster.start()
                began = time.monotonic()
                after = f"after-{number}"
                submit(client, after, description='{"lines": 1}', priority="high")
                heads = {channel: ids[-1] for channel, ids in cursors(cluster.query).items() if ids}
                assert subscriber.wait_until(heads, patience=RESYNCHRONISED_WITHIN)
                until("work does not go on", partial(is_completed, client, after))
                assert time.monotonic() - began < GOES_ON_WITHIN
            client.request({"type": "subscribe_to_updates", "channels": ["task_status"]})
            for name in names:
                client.rewind()
                task = client.until_status(name, *FINISHED, patience=120)
                assert (task["status"], len(task["runs"])) == ("completed", 1), task
                assert said(client, name) == [f"line {number}" for number in range(100)]
        subscriber.assert_heard(cursors(cluster.query))


def is_completed(client: Client, task_id: str) -> bool:
    return bool(client.task(task_id)["status"] == "completed")


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(300)
def test_works_on_after_its_database_was_read_only_and_then_away_for_long(tmp_path: Path) -> None:
    patience = 60 if os.environ.get("CHAOS_FULL") else 6
    with Cluster() as cluster, Server(tmp_path, **AGENT, DATABASE_URL=cluster.url) as server:
        lines = 10 * patience * 2
        with server.connect() as client:
            client.request({"type": "subscribe_to_updates", "channels": ["task_status", "log_entries"]})
            client.start("steady", description=json.dumps({"lines": lines, "pause": 1.5}))
            client.wait(lambda message: message["type"] == "log_entry")
            cluster.set_read_only(True)
            until("it writes", lambda: client.start("nobody").get("code") == "DATABASE_ERROR")
            assert client.task("steady")["status"] == "running"
            cluster.set_read_only(False)
            submit(client, "between")
            cluster.crash()
            time.sleep(patience)
            assert client.request({"type": "list_tasks"})["code"] == "DATABASE_ERROR"
            cluster.start()
            submit(client, "after")
            for name in ("steady", "between", "after"):
                client.rewind()
                task = client.until_status(name, *FINISHED, patience=180)
                assert (task["status"], len(task["runs"])) == ("completed", 1), task
            assert said(client, "steady") == [f"line {number}" for number in range(lines)]


def submit(client: Client, name: str, **task: Any) -> None:
    """Until the server has it, as a client does that was told of an error or of nothing."""

    def known() -> bool:
        reply = client.start(name, **{"description": json.dumps({"lines": 100, "pause": 0.05}), **task})
        return reply["type"] == "task_started" or bool(reply["code"] == "TASK_ALREADY_EXISTS")

    until(f"{name} was not taken", known)
