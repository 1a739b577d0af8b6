"""What happens to runs when the processes around them are killed, on a really started server."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support import agent
from tests.support.client import Client, Message
from tests.support.server import Server

LINES = 1500


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, OPENCODE_BIN=str(Path(agent.__file__)), OPENCODE_KILL_GRACE="1") as started:
        yield started


def orders(**wanted: object) -> str:
    return json.dumps(wanted)


def said(client: Client, task_id: str) -> list[str]:
    """Everything that the agent of the task said, in the order of the database."""
    entries: list[Message] = []
    oldest: dict[str, int] = {}
    while True:
        request = {"type": "request_log_entries", "limit": 1000, "filter": {"agent": task_id}, **oldest}
        page = client.request(request)["data"]["entries"]
        if not page:
            break
        entries = page + entries
        oldest = {"before_id": page[0]["id"]}
    return [entry["message"] for entry in entries if entry["message"].startswith("line ")]


def subscribe(client: Client) -> None:
    """As a client does: where the server says that it cannot just now, again."""
    for _ in range(100):
        reply = client.request({"type": "subscribe_to_updates", "channels": ["task_status"]})
        if reply["type"] == "subscription_confirmed":
            return
        assert reply["code"] == "SERVER_OVERLOAD", reply
        time.sleep(0.1)
    raise AssertionError("no subscription within 10 s")


def start_working(client: Client, task_id: str, **wanted: object) -> Message:
    """Submits a task and returns its run when its agent has said something."""
    client.request({"type": "subscribe_to_updates", "channels": ["task_status", "log_entries"]})
    client.start(task_id, description=orders(**wanted))
    client.wait(lambda message: message["type"] == "log_entry" and message["log"]["agent"] == task_id)
    run: Message = client.task(task_id)["runs"][0]
    return run


def starts(marker: Path) -> int:
    return len(marker.read_text().splitlines())


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_goes_on_and_stores_every_line_once_when_worker_and_web_are_ended(
    server: Server, tmp_path: Path, signum: signal.Signals
) -> None:
    marker = tmp_path / "starts"
    with server.connect() as client:
        subscribe(client)
        client.start("survivor", description=orders(lines=LINES, pause=0.05, marker=str(marker)))
        client.until_status("survivor", "running")
        server.kill_child("worker", signum)
        server.kill_child("web", signum)
    with server.connect() as client:
        subscribe(client)
        task = client.until_status("survivor", "completed", "failed", "cancelled")
        assert (task["status"], task["progress"], len(task["runs"])) == ("completed", 100, 1)
        assert task["runs"][0]["exit_code"] == 0
        assert said(client, "survivor") == [f"line {number}" for number in range(LINES)]
    assert starts(marker) == 1


def test_picks_up_what_ended_while_nothing_was_running(server: Server, tmp_path: Path) -> None:
    with server.connect() as client:
        pid = start_working(client, "alone", lines=200, pause=0.05)["agent_pid"]
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=30)
    server.start("--stop-agents")
    with server.connect() as client:
        subscribe(client)
        assert client.until_status("alone", "completed", "failed", "cancelled")["status"] == "completed"
        assert said(client, "alone") == [f"line {number}" for number in range(200)]


def test_works_on_when_the_broker_is_killed(server: Server) -> None:
    with server.connect() as client:
        client.start("first", description=orders(lines=50))
    server.kill_child("valkey")
    with server.connect() as client:
        subscribe(client)
        client.start("second", description=orders(lines=50))
        for task_id in ("first", "second"):
            assert client.until_status(task_id, "completed", "failed", "cancelled")["status"] == "completed"
            assert said(client, task_id) == [f"line {number}" for number in range(50)]


def test_loses_a_run_whose_supervisor_and_agent_were_killed_and_ends_its_orphans(
    server: Server, tmp_path: Path
) -> None:
    with server.connect() as client:
        run = start_working(client, "victim", lines=100_000, pause=0.05, children=2)
        family = [
            psutil.Process(run["agent_pid"]),
            *psutil.Process(run["agent_pid"]).children(recursive=True),
        ]
        assert len(family) == 3
        supervisor = psutil.Process(run["supervisor_pid"])
        assert psutil.Process(run["agent_pid"]).ppid() == supervisor.pid
        supervisor.kill()
        task = client.until_status("victim", "completed", "failed", "cancelled")
        assert (task["status"], task["failure_reason"]) == ("failed", "lost")
        assert psutil.wait_procs(family, timeout=10)[1] == []
        lines = said(client, "victim")
        assert lines == [f"line {number}" for number in range(len(lines))]


def test_cancels_a_run_with_all_its_descendants(server: Server) -> None:
    with server.connect() as client:
        pid = start_working(client, "stubborn", lines=100_000, pause=0.05, children=2, ignore_term=True)[
            "agent_pid"
        ]
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        reply = client.request({"type": "cancel_task", "task_id": "stubborn"})
        assert (reply["type"], reply["status"]) == ("task_cancelled", "cancelled")
        assert not any(process.is_running() for process in family)


def test_ends_a_run_that_takes_longer_than_its_timeout(server: Server) -> None:
    with server.connect() as client:
        subscribe(client)
        client.start("slow", description=orders(lines=100_000, pause=0.05, children=1), timeout=1500)
        task = client.until_status("slow", "completed", "failed", "cancelled")
        assert (task["status"], task["failure_reason"]) == ("failed", "timeout")
        assert task["error"]


def test_runs_no_more_agents_at_once_than_it_may_and_takes_the_most_urgent_first(tmp_path: Path) -> None:
    with (
        Server(
            tmp_path, OPENCODE_BIN=str(Path(agent.__file__)), OPENCODE_MAX_CONCURRENT_AGENTS="1"
        ) as server,
        server.connect() as client,
    ):
        subscribe(client)
        client.start("now", description=orders(lines=100, pause=0.1))
        client.until_status("now", "running")
        for task_id, priority in (("low", "low"), ("high", "high"), ("medium", "medium")):
            client.start(task_id, description=orders(), priority=priority)
        assert client.task("high")["runtime_status"] == "queued"
        for task_id in ("now", "low", "high", "medium"):
            client.until_status(task_id, "completed")
        client.rewind()
        order = [
            message["task_id"]
            for message in client.received
            if message["type"] == "task_status_update"
            and message["new_status"] == "running"
            and message["old_status"] == "pending"
        ]
        assert order == ["now", "high", "medium", "low"]
