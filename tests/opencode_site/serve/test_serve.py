"""The whole server, started as an operator does."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sqlite3
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.opencode_site.serve.served import PATIENCE, Serve, gone
from tests.support import agent
from tests.support.waiting import eventually

BACK_WITHIN = 5.0
"""Seconds in which whatever was killed works again."""

pytestmark = pytest.mark.slow

Start = Callable[..., Serve]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_shows_where_everything_is(running: Serve) -> None:
    address = f"127.0.0.1:{running.port}"
    for part in (
        f"http://{address}/",
        f"http://{address}/admin/",
        f"ws://{address}/ws",
        str(running.data_dir),
    ):
        assert part in running.output
    assert "Ctrl-C" in running.output


def test_answers_http_once_it_says_that_it_is_ready(running: Serve) -> None:
    assert running.http_status() == 200


def test_keeps_its_files_to_its_user(running: Serve) -> None:
    assert mode(running.data_dir) == 0o700
    assert mode(running.data_dir / "logs") == 0o700
    for name in (
        "serve.json",
        "serve.lock",
        "logs/web.log",
        "logs/worker.log",
        "logs/valkey.log",
    ):
        assert mode(running.data_dir / name) == 0o600, name
    assert mode(running.data_dir / "valkey.sock") == 0o700


def test_tells_operators_its_processes_in_a_file(running: Serve) -> None:
    assert running.status["pid"] == running.process.pid
    assert set(running.children) == {"valkey", "web", "worker"}
    assert not gone(running.children)


def test_refuses_a_second_server_on_its_data_directory(running: Serve) -> None:
    second = Serve(running.data_dir)
    assert second.ended() == 2
    assert second.output.startswith("error: another server")
    assert f"pid {running.process.pid}" in second.output
    assert running.http_status() == 200


def test_refuses_a_port_that_is_in_use(serve: Start, running: Serve) -> None:
    server = serve(OPENCODE_PORT=str(running.port))
    assert server.ended() == 2
    assert re.fullmatch(rf"error: port {running.port} is in use .*OPENCODE_PORT=.*\n", server.output)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENCODE_PORT", "abc"),
        ("OPENCODE_PORT", "70000"),
        ("DATABASE_URL", "nonsense"),
        ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none"),
        ("REDIS_URL", "nonsense"),
        ("OPENCODE_HOST", "0.0.0.0"),
        ("OPENCODE_HOST", "no such host"),
        ("OPENCODE_DATA_DIR", "/dev/null/var"),
    ],
)
def test_says_a_wrong_setting_in_one_line(serve: Start, name: str, value: str) -> None:
    server = serve(**{name: value})
    assert server.ended() == 2
    assert re.fullmatch(r"error: .+\n", server.output)
    assert name in server.output


def test_stops_everything_on_ctrl_c(serve: Start) -> None:
    server = serve().until_ready()
    children = server.children
    assert server.interrupt() == 0
    assert gone(children)
    assert not (server.data_dir / "serve.json").exists()
    assert server.output.rstrip().endswith("Stopped. No agent is running.")


def test_stops_everything_when_told_so_while_it_starts(serve: Start) -> None:
    server = serve()
    eventually("a child exists", lambda: server.children)
    children = server.children
    server.process.send_signal(signal.SIGTERM)
    assert server.ended() == 0
    assert gone(children)
    assert "Traceback" not in server.output


def test_makes_the_admin_account_on_the_first_start_only(serve: Start) -> None:
    first = serve().until_ready()
    found = re.search(r"admin\s+password: (\S+)", first.output)
    assert found, first.output
    first.interrupt()
    second = serve().until_ready()
    assert "password" not in second.output
    check = (
        "from django.contrib.auth import authenticate;"
        f"print(authenticate(username='admin', password={found.group(1)!r}).is_superuser)"
    )
    assert second.manage("shell", "--verbosity", "0", "-c", check).strip() == "True"


def test_takes_the_admin_password_from_the_environment_and_never_shows_it(serve: Start) -> None:
    secret = "chosen-by-the-operator"
    server = serve("--verbose", OPENCODE_ADMIN_USER="root", OPENCODE_ADMIN_PASSWORD=secret).until_ready()
    check = (
        "from django.contrib.auth import authenticate;"
        f"print(authenticate(username='root', password={secret!r}).is_superuser)"
    )
    assert server.manage("shell", "--verbosity", "0", "-c", check).strip() == "True"
    assert secret not in server.output
    for pid, _ in server.children.values():
        environment = Path(f"/proc/{pid}/environ")
        assert not environment.exists() or secret.encode() not in environment.read_bytes()


def worker_that_reports(server: Serve) -> int:
    path = server.data_dir / "db.sqlite3"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        ((pid,),) = connection.execute("SELECT pid FROM tasks_host").fetchall()
    return int(pid)


@pytest.mark.alone
@pytest.mark.parametrize("name", ["web", "worker", "valkey"])
def test_starts_a_process_again_that_was_killed(serve: Start, name: str) -> None:
    server = serve(OPENCODE_SAMPLE_INTERVAL="1").until_ready()
    eventually("the first sample is taken", lambda: server.http_status("/readyz") == 200)
    pid, known = server.children[name]
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    eventually(f"there is another {name}", lambda: server.children.get(name, (pid, known))[1] != known)
    eventually("all is ready again", lambda: server.http_status("/readyz") == 200)
    eventually("the worker reports", lambda: worker_that_reports(server) == server.children["worker"][0])
    assert time.monotonic() - began < BACK_WITHIN
    assert f"{name} was ended by SIGKILL; it is started again in 0.2 s" in server.output
    assert server.status["children"][name]["restarts"] == 1
    assert server.http_status() == 200


def test_keeps_connections_waiting_while_web_is_away(serve: Start) -> None:
    server = serve().until_ready()
    pid, known = server.children["web"]
    os.kill(pid, signal.SIGKILL)
    eventually("web is gone", lambda: gone({"web": (pid, known)}))
    # Nobody is there to accept it yet, and still it is not refused.
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        client.sendall(b"GET /admin/login/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
def test_leaves_no_process_behind_when_it_is_killed(serve: Start) -> None:
    server = serve().until_ready()
    children = server.children
    server.process.kill()
    server.ended()
    eventually("its processes have ended", lambda: gone(children))


def test_starts_again_after_it_was_killed(serve: Start) -> None:
    first = serve().until_ready()
    first.process.kill()
    first.ended()
    second = serve().until_ready()
    assert second.http_status() == 200


def test_shows_what_its_processes_log_if_asked_to(serve: Start) -> None:
    server = serve("--verbose").until_ready()
    eventually("the worker's log", lambda: re.search(r"^worker \| .*ready\.$", server.output, re.MULTILINE))
    assert "ready." in (server.data_dir / "logs" / "worker.log").read_text()


AGENT = {"OPENCODE_BIN": agent.__file__, "OPENCODE_KILL_GRACE": "1"}


def test_leaves_agents_running_says_so_and_stops_them_later_if_asked_to(serve: Start) -> None:
    first = serve(**AGENT).until_ready()
    assert agent.__file__ in first.output
    first.submit("long", lines=100_000, pause=1)
    process = first.agent()
    assert first.interrupt() == 0
    assert "1 agent goes on running" in first.output
    assert not gone({"agent": process})

    second = serve("--stop-agents", **AGENT).until_ready()
    second.submit("next", lines=100_000, pause=1)
    assert second.interrupt() == 0
    assert re.search(r"Stopped, and [12] agents? with it", second.output), second.output
    assert gone({"agent": process})
    assert second.rows("select status from tasks_task where id = 'long'") == [("cancelled",)]
    assert second.rows("select count(*) from tasks_run where state <> 'ended'") == [(0,)]


def test_does_not_start_waiting_tasks_in_the_place_of_agents_that_it_stops(serve: Start) -> None:
    server = serve("--stop-agents", OPENCODE_MAX_CONCURRENT_AGENTS="1", **AGENT).until_ready()
    server.submit("running", lines=100_000, pause=1)
    process = server.agent()
    server.submit("waiting", lines=100_000, pause=1)
    assert server.interrupt() == 0
    assert gone({"agent": process})
    assert server.rows("select id, status from tasks_task order by id") == [
        ("running", "cancelled"),
        ("waiting", "pending"),
    ]
