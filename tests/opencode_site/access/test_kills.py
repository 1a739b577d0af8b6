"""Attempts to end what must not be ended, over the socket of a really running server; nobody is signalled."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support import agent
from tests.support.client import Client, Message
from tests.support.server import Server
from tests.support.waiting import eventually
from tests.tasks.test_inventory import AS_NOBODY, RENAME

Start = Callable[..., subprocess.Popen[bytes]]
WATCH = """
import signal, sys, time
# Says which signal has come, and lives on.
for number in (1, 2, 3, 15):
    signal.signal(number, lambda n, _: print(n, flush=True))
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {"OPENCODE_BIN": str(Path(agent.__file__)), "OPENCODE_KILLS_PER_MINUTE": "0"}
    with Server(tmp_path_factory.mktemp("kills"), OPENCODE_KILL_GRACE="1", **environment) as started:
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.connect() as connected:
        connected.request({"type": "subscribe_to_updates", "channels": ["task_status"]})
        yield connected


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def run(*argv: str, **options: Any) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(argv, stdout=subprocess.PIPE, **options))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def refused(client: Client, pid: int, *, code: str = "PERMISSION_DENIED") -> None:
    for name in ("SIGTERM", "SIGKILL", "SIGINT", "SIGHUP", "SIGQUIT"):
        answer = client.request({"type": "kill_process", "pid": pid, "signal": name})
        assert answer.get("code") == code, (pid, name, answer)


def program_called(name: str, directory: Path) -> Path:
    """An executable with an agent's name: by that a stranger's agent is told."""
    copy = directory / name
    shutil.copy(shutil.which("sleep") or "", copy)
    return copy


def test_sends_no_signal_to_a_process_that_only_looks_like_an_agent(client: Client, start: Start) -> None:
    watched = start(sys.executable, "-c", WATCH)
    argv0 = start("opencode", "-c", WATCH, executable=sys.executable)
    for process in (watched, argv0):
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        refused(client, process.pid)
        assert process.poll() is None
        process.kill()
        assert process.stdout.read() == b""  # not one of the five signals came


def test_sends_no_signal_to_a_process_that_has_renamed_itself(client: Client, start: Start) -> None:
    pretender = start(sys.executable, "-c", RENAME, "/x/opencode")
    assert pretender.stdout is not None
    pretender.stdout.readline()
    assert client.process(pretender.pid)["name"] == "opencode"  # so it calls itself
    refused(client, pretender.pid)
    assert pretender.poll() is None


def test_spares_its_own_family_and_numbers_that_are_no_process(client: Client, server: Server) -> None:
    family = [server.process.pid, *(server.child(name) for name in ("web", "worker", "valkey"))]
    family += [os.getpid(), os.getppid()]
    worker = psutil.Process(server.child("worker"))
    threads = [thread.id for thread in worker.threads() if thread.id != worker.pid]
    assert threads
    for pid in (*family, *threads[:2], 0, 1, -1, -server.process.pid, -os.getpid()):
        refused(client, pid)
    for bad in (2**31, -(2**31) - 1, 2**63, 1.5, "1", True, [1], {"pid": 1}):
        refused(client, bad, code="INVALID_FIELD_VALUE")  # type: ignore[arg-type]
    refused(client, 2**31 - 1, code="PROCESS_NOT_FOUND")
    assert all(psutil.Process(pid).is_running() for pid in family)
    assert client.request({"type": "ping"})["type"] == "pong"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")
def test_spares_the_agents_of_other_users(client: Client, start: Start, tmp_path: Path) -> None:
    program = program_called("opencode", tmp_path)
    for path in (program, *[tmp_path, *tmp_path.parents][:-2]):
        path.chmod(0o755)
    theirs = start(*AS_NOBODY, str(program), "60")
    while psutil.Process(theirs.pid).exe() != str(program):
        assert theirs.poll() is None
    refused(client, theirs.pid)
    assert theirs.poll() is None


def family(client: Client, task_id: str) -> tuple[Message, int]:
    """The run of a task, and the pid of the child that its agent has left behind."""

    def found() -> tuple[Message, int] | None:
        (run,) = client.task(task_id)["runs"]
        if run.get("agent_pid"):
            agent_process = psutil.Process(run["agent_pid"])
            children = agent_process.children()
            # Until it is Python, it may be a shim that looks for one and has short-lived children.
            if children and Path(agent_process.exe()).name.startswith("python"):
                return run, children[0].pid
        return None

    left: tuple[Message, int] = eventually("the agent has left a child behind", found)
    return left


def test_tells_what_is_ours_from_what_is_somebody_elses(client: Client, start: Start, tmp_path: Path) -> None:
    foreign = start(str(program_called("opencode", tmp_path)), "60")
    orders = json.dumps({"lines": 1000, "pause": 1, "children": 1})
    assert client.start("ours", description=orders)["type"] == "task_started"
    client.until_status("ours", "running")
    run, child = family(client, "ours")
    refused(client, run["supervisor_pid"])
    kill = {"type": "kill_process", "signal": "SIGKILL"}
    for pid, task_id in ((foreign.pid, None), (child, "ours"), (run["agent_pid"], "ours")):
        answer = client.request({**kill, "pid": pid})
        assert answer["type"] == "process_killed", answer
        assert answer["data"].get("task_id") == task_id
    assert foreign.wait(5) == -9
    assert client.until_status("ours", "failed")["failure_reason"] == "killed"
