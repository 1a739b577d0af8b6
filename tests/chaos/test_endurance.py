"""Many of everything, and many kills: small numbers here, those of the promise by `make chaos`."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from websockets.sync.client import connect

from tests.chaos.subscriber import GOES_ON_WITHIN, RESYNCHRONISED_WITHIN, Subscriber, cursors
from tests.support import agent
from tests.support.memory import own_memory
from tests.support.server import ROOT, Server
from tests.support.waiting import eventually

FULL = bool(os.environ.get("CHAOS_FULL"))
AGENT = {"OPENCODE_BIN": str(Path(agent.__file__)), "OPENCODE_KILL_GRACE": "1"}
FINISHED = ("completed", "failed", "cancelled")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800 if FULL else 300)]


def query(server: Server, statement: str, *values: object) -> list[tuple[Any, ...]]:
    path = server.data_dir / "db.sqlite3"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(statement, values).fetchall()


until = partial(eventually, patience=240.0)


def unfinished(server: Server) -> int:
    ((count,),) = query(server, "SELECT count(*) FROM tasks_task WHERE status IN ('pending', 'running')")
    return int(count)


def said(server: Server, task_id: str) -> list[str]:
    rows = query(
        server,
        "SELECT message FROM monitoring_logentry WHERE agent = ? AND message LIKE 'line %' ORDER BY id",
        task_id,
    )
    return [message for (message,) in rows]


@pytest.mark.alone
def test_adopts_fifty_runs_after_its_worker_was_killed(tmp_path: Path) -> None:
    runs = 50
    with Server(tmp_path, **AGENT, OPENCODE_MAX_CONCURRENT_AGENTS=str(runs)) as server:
        with server.connect() as client:
            for number in range(runs):
                orders = {
                    "lines": 150,
                    "pause": 1.0,
                    "exit": number % 8,
                    "marker": str(tmp_path / f"{number}"),
                }
                client.start(f"run-{number}", description=json.dumps(orders))
        started = "SELECT count(*) FROM tasks_run WHERE agent_pid IS NOT NULL AND state = 'running'"
        until("they were not started", lambda: query(server, started) == [(runs,)])
        before = dict(query(server, "SELECT task_id, stdout_offset FROM tasks_run"))
        server.kill_child("worker")
        until(
            "they were not all followed again",
            lambda: all(
                offset > before[task_id] or state == "ended"
                for task_id, offset, state in query(
                    server, "SELECT task_id, stdout_offset, state FROM tasks_run"
                )
            ),
            patience=GOES_ON_WITHIN,
        )
        until("they did not end", lambda: unfinished(server) == 0)
        for number in range(runs):
            task_id = f"run-{number}"
            ((outcome, code),) = query(
                server, "SELECT outcome, exit_code FROM tasks_run WHERE task_id = ?", task_id
            )
            assert (outcome, code) == ("failed" if number % 8 else "completed", number % 8)
            assert len((tmp_path / f"{number}").read_text().splitlines()) == 1
            assert said(server, task_id) == [f"line {line}" for line in range(150)]


def test_stores_every_line_once_however_often_the_worker_is_killed(tmp_path: Path) -> None:
    runs, lines, kills = (4, 50_000, 50) if FULL else (4, 5_000, 4)
    with Server(tmp_path, **AGENT) as server:
        with server.connect() as client:
            for number in range(runs):
                # Ten lines, then a pause: so that the kills fall into the middle of the writing.
                orders = {"lines": lines, "pause": 10 * 2.5 * kills / lines}
                client.start(f"run-{number}", description=json.dumps(orders))
        for kill in range(kills):
            until_lines(server, runs * lines * kill // (kills + 1))
            server.kill_child("worker")
        until("they did not end", lambda: unfinished(server) == 0, patience=900)
        for number in range(runs):
            assert said(server, f"run-{number}") == [f"line {line}" for line in range(lines)]
        assert query(server, "SELECT count(*), max(number) FROM tasks_run") == [(runs, 1)]


def until_lines(server: Server, count: int) -> None:
    newest = "SELECT coalesce(max(id), 0) FROM monitoring_logentry"
    until("nothing is stored", lambda: query(server, newest)[0][0] > count, patience=600)


def test_loses_nothing_when_the_broker_is_killed_and_flushed(tmp_path: Path) -> None:
    kills, flushes = (20, 3) if FULL else (3, 1)
    with Server(tmp_path, **AGENT) as server:
        subscriber = Subscriber(server.url)
        subscriber.start()
        until("no subscription", lambda: subscriber.began)
        tasks = 0
        for disaster in ["kill"] * kills + ["flush"] * flushes:
            with server.connect() as client:
                for _ in range(4):
                    orders = {"lines": 100, "pause": 0.05}
                    client.start(f"task-{tasks}", description=json.dumps(orders))
                    tasks += 1
            if disaster == "kill":
                server.kill_child("valkey")
            else:
                with redis.Redis(unix_socket_path=str(server.data_dir / "valkey.sock")) as broker:
                    broker.flushall()
            after = f"after-{tasks}"
            with server.connect() as client:
                client.start(after, description="{}", priority="high")
            until("work does not go on", partial(is_completed, server, after), patience=GOES_ON_WITHIN)
            heads = {name: rows[-1] for name, rows in cursors(partial(query, server)).items()}
            assert subscriber.wait_until(heads, patience=RESYNCHRONISED_WITHIN), disaster
        until("they did not end", lambda: unfinished(server) == 0)
        for number in range(tasks):
            assert said(server, f"task-{number}") == [f"line {line}" for line in range(100)]
        subscriber.assert_heard(cursors(partial(query, server)))


def is_completed(server: Server, task_id: str) -> bool:
    return query(server, "SELECT status FROM tasks_task WHERE id = ?", task_id) == [("completed",)]


def test_takes_eight_writing_processes_on_sqlite(tmp_path: Path) -> None:
    writes = 300 if FULL else 100
    environment = {**os.environ, "OPENCODE_DATA_DIR": str(tmp_path / "var")}
    migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(migrate, cwd=ROOT, env=environment, check=True)
    code = (
        "import django, sys; django.setup()\n"
        "from tasks import services\n"
        f"for number in range({writes}):\n"
        "    name = f'w{sys.argv[1]}-{number}'\n"
        "    services.submit(services.NewTask(id=name, type='testing', description='d'))\n"
        "    if number % 3 == 0: services.cancel(name)\n"
    )
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(number)], cwd=ROOT, env=environment, stderr=subprocess.PIPE
        )
        for number in range(8)
    ]
    errors = [writer.communicate(timeout=280)[1].decode() for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 8, errors
    with closing(sqlite3.connect(tmp_path / "var" / "db.sqlite3")) as connection:
        assert connection.execute("SELECT count(*) FROM tasks_task").fetchone() == (8 * writes,)


def test_leaks_neither_memory_nor_descriptors(tmp_path: Path) -> None:
    connections, runs = (10_000, 1_000) if FULL else (500, 24)
    with Server(tmp_path, **AGENT, OPENCODE_MAX_CONNECTIONS="0") as server:
        web, worker = (psutil.Process(server.child(name)) for name in ("web", "worker"))

        def work(number: int, prefix: str) -> None:
            with server.connect() as client:
                client.request({"type": "subscribe_to_updates", "channels": ["task_status"]})
                for task in range(number):
                    client.start(f"{prefix}-{task}", description=json.dumps({"lines": 20}))
            until("they did not end", lambda: unfinished(server) == 0, patience=900)

        def visit(number: int) -> None:
            for visitor in range(number):
                with connect(server.url, open_timeout=10, ping_interval=None) as socket:
                    socket.recv()
                    if visitor % 2:
                        socket.send('{"type": "subscribe_to_updates", "channels": ["log_entries"]}')
                        socket.recv()

        # What is made once and kept, like threads and their database connections, is there after this.
        work(40, "warm")
        visitors = [threading.Thread(target=visit, args=(50,)) for _ in range(8)]
        run_all(visitors)
        before = [(process.num_fds(), own_memory(process.pid)) for process in (web, worker)]
        run_all([threading.Thread(target=visit, args=(connections // 4,)) for _ in range(4)])
        work(runs, "run")
        until("connections are left", lambda: abs(web.num_fds() - before[0][0]) <= 5, patience=30)
        until("descriptors are left", lambda: abs(worker.num_fds() - before[1][0]) <= 5, patience=30)
        for process, (_, memory) in zip((web, worker), before, strict=True):
            grown = own_memory(process.pid) - memory
            assert grown < 24_000_000, f"{process.cmdline()} has grown by {grown} bytes"


def run_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_ends_what_was_running_when_the_machine_went_down(tmp_path: Path) -> None:
    """Everything is killed at once, as by a loss of power; the next start tells the truth and tries again."""
    with Server(tmp_path, **AGENT) as server:
        marker = tmp_path / "starts"
        with server.connect() as client:
            long = {"lines": 5000, "pause": 0.1, "children": 1}
            client.start("lost", description=json.dumps(long))
            again = {"lines": 300, "pause": 0.1, "marker": str(marker)}
            client.start("again", description=json.dumps(again), max_retries=1)
        running = "SELECT supervisor_pid, agent_pid FROM tasks_run WHERE state = 'running'"
        pairs = until(
            "they did not start", lambda: rows if len(rows := query(server, running)) == 2 else None
        )
        until("it did not begin", marker.exists)
        ours = [server.child(name) for name in ("web", "worker", "valkey")]
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        for supervisor, agent_pid in pairs:
            assert psutil.Process(agent_pid).ppid() == supervisor
            for process in (psutil.Process(supervisor), *psutil.Process(supervisor).children(recursive=True)):
                process.kill()
        until("the server's processes go on", lambda: not any(map(psutil.pid_exists, ours)))
        server.start("--stop-agents")
        with server.connect() as client:
            client.request({"type": "subscribe_to_updates", "channels": ["task_status"]})
            task = client.until_status("lost", *FINISHED)
            assert (task["status"], task["failure_reason"]) == ("failed", "lost")
            client.rewind()
            task = client.until_status("again", "completed")
            assert [run["failure_reason"] for run in task["runs"] if run["outcome"] == "failed"] == ["lost"]
            assert len(marker.read_text().splitlines()) == len(task["runs"]) == 2
