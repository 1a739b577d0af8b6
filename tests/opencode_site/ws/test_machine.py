"""What the protocol tells about the machine, held against the machine; and what it lets a client end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.opencode_site.ws.test_protocol import TIME, assert_error
from tests.support import agent
from tests.support.client import Client, Message
from tests.support.server import Server
from tests.support.waiting import eventually

LONG = json.dumps({"lines": 100_000, "pause": 0.1, "children": 1})
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {
        "OPENCODE_BIN": str(Path(agent.__file__)),
        "OPENCODE_SAMPLE_INTERVAL": "1",
        "OPENCODE_KILLS_PER_MINUTE": "0",
        "OPENCODE_KILL_GRACE": "1",
    }
    with Server(tmp_path_factory.mktemp("machine"), **environment) as started:
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.connect() as connected:
        yield connected


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def run(*argv: str, **options: Any) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(argv, **options))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def opencode(tmp_path: Path) -> str:
    """A program that is called opencode, as far as the machine can tell, and that only sleeps."""
    program = tmp_path / "opencode"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    return str(program)


def working(client: Client) -> Message:
    """A task whose agent is at work, with its run."""
    task_id = f"task-{uuid.uuid4().hex[:8]}"
    client.request({"type": "subscribe_to_updates", "channels": ["task_status", "log_entries"]})
    client.start(task_id, description=LONG)
    client.wait(lambda message: message["type"] == "log_entry" and message["log"]["agent"] == task_id)
    task = client.task(task_id)
    assert task["runs"][0]["agent_pid"]
    return task


def assert_resources(data: Message, server: Server) -> None:
    """That they are what the machine itself says."""
    memory = psutil.virtual_memory()
    assert data["memory_total"] == memory.total
    assert data["memory_used"] == pytest.approx(memory.used, rel=0.25)
    assert 0 < data["memory_usage"] < 100
    total, used = disk(server.data_dir)
    assert data["disk_total"] == total
    assert data["disk_used"] == pytest.approx(used, rel=0.05)
    assert 0 < data["disk_usage"] < 100
    assert 0 <= data["cpu_usage"] <= 100
    assert data["active_processes"] == pytest.approx(len(psutil.pids()), abs=30)
    assert data["claude_processes"] >= 0
    assert TIME.match(data["timestamp"])


def disk(directory: Path) -> tuple[int, int]:
    """Bytes in all and used of a directory's file system, as `df` tells them."""
    shown = subprocess.run(
        ["df", "-B1", "--output=size,used", str(directory)],
        capture_output=True,
        text=True,
        check=True,
    )
    total, used = shown.stdout.splitlines()[1].split()
    return int(total), int(used)


def gone(process: psutil.Process) -> bool:
    """Whether it has ended, reaped by its parent or not."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_tells_the_load_of_the_machine_as_the_machine_does(client: Client, server: Server) -> None:
    reply = client.request({"type": "request_system_resources"})
    assert reply["type"] == "system_resources"
    assert_resources(reply["data"], server)
    network, really = reply["data"]["network_stats"], psutil.net_io_counters()
    for name in ("bytes_sent", "bytes_recv", "packets_sent", "packets_recv"):
        assert 0 < network[name] <= getattr(really, name)


def test_sends_a_sample_each_interval_to_subscribers_only(client: Client, server: Server) -> None:
    client.request({"type": "subscribe_to_updates", "channels": ["system_resources"]})
    moments = []
    for _ in range(3):
        update = client.wait(lambda message: message["type"] == "resource_update", patience=15)
        assert_resources(update["resources"], server)
        moments.append(update["resources"]["timestamp"])
    assert len(set(moments)) == 3
    assert {message["type"] for message in client.received} == {
        "connection_established",
        "subscription_confirmed",
        "resource_update",
    }


def test_shows_everything_at_once(client: Client, server: Server, start: Start, opencode: str) -> None:
    foreign = start(opencode, "60")
    task = working(client)

    def told() -> Message | None:
        """What the server tells once its account of agents holds both."""
        data: Message = client.request({"type": "request_status"})["data"]
        return data if foreign.pid in {shown.get("pid") for shown in data["agents"]} else None

    data = eventually("the foreign agent is told of", told)
    by_pid = {shown.get("pid"): shown for shown in data["agents"]}
    ours = by_pid[task["runs"][0]["agent_pid"]]
    assert (ours["id"], ours["status"], ours["type"]) == (task["id"], "running", "opencode")
    assert (ours["is_claude_desktop"], ours["process_type"]) == (False, "opencode")
    assert ours["working_dir"] == task["working_dir"]
    assert TIME.match(ours["start_time"])
    theirs = by_pid[foreign.pid]
    assert (theirs["type"], theirs["task"], theirs["progress"]) == ("opencode", "interactive", 0)
    assert theirs["memory_usage"] == pytest.approx(psutil.Process(foreign.pid).memory_info().rss, rel=0.3)
    assert any(shown["id"] == task["id"] and shown["status"] == "running" for shown in data["tasks"])
    assert_resources(data["system_resources"], server)
    assert {foreign.pid, task["runs"][0]["agent_pid"]} <= {shown["pid"] for shown in data["claude_processes"]}
    client.request({"type": "cancel_task", "task_id": task["id"]})


def test_lists_agents_first_with_the_fields_of_the_spec(client: Client, start: Start, opencode: str) -> None:
    foreign = start(opencode, "60")

    def listed() -> Message | None:
        """The reply that shows it asleep: one scan serves all who ask within a tenth of a second."""
        reply = client.request({"type": "request_process_list", "limit": 10_000})
        assert reply["type"] == "process_list"
        state = {each["pid"]: each["status"] for each in reply["data"]["processes"]}
        return reply if state.get(foreign.pid) == "sleeping" else None

    data = eventually("the new agent is listed", listed)["data"]
    assert data["total_count"] == len(data["processes"])
    assert set(data["system_load"]) == {"load1", "load5", "load15"}
    kinds = ["type" in shown for shown in data["processes"]]
    assert kinds == sorted(kinds, reverse=True)
    shown = next(each for each in data["processes"] if each["pid"] == foreign.pid)
    really = psutil.Process(foreign.pid)
    assert (shown["name"], shown["type"], shown["cmdline"]) == ("opencode", "opencode", f"{opencode} 60")
    assert shown["create_time"] == pytest.approx(really.create_time(), abs=0.1)
    assert shown["memory_rss"] == pytest.approx(really.memory_info().rss, rel=0.3)
    assert "task_id" not in shown
    only = client.request({"type": "request_process_list", "filter": {"type": "opencode"}, "limit": 1})[
        "data"
    ]
    assert len(only["processes"]) == 1
    assert only["processes"][0]["type"] == "opencode"
    none = client.request({"type": "request_process_list", "filter": {"status": "no such state"}})["data"]
    assert (none["processes"], none["total_count"]) == ([], 0)
    assert_error(client.request({"type": "request_process_list", "limit": 0}), "INVALID_FIELD_VALUE")


def test_tells_agents_of_ours_from_others(client: Client, start: Start, opencode: str) -> None:
    foreign = start(opencode, "60")
    task = working(client)
    reply = client.request({"type": "request_claude_processes"})
    assert (reply["type"], bool(TIME.match(reply["timestamp"]))) == ("claude_processes", True)
    by_pid = {shown["pid"]: shown for shown in reply["processes"]}
    ours, theirs = by_pid[task["runs"][0]["agent_pid"]], by_pid[foreign.pid]
    assert (ours["task_id"], ours["run_id"]) == (task["id"], task["runs"][0]["id"])
    assert "task_id" not in theirs
    for shown in (ours, theirs):
        assert (shown["type"], shown["is_opencode"], shown["is_claude_desktop"]) == ("opencode", True, False)
        assert TIME.match(shown["start_time"])
        assert TIME.match(shown["discovered_at"])
        assert shown["memory_usage"] > 0
    client.request({"type": "cancel_task", "task_id": task["id"]})


def test_tells_what_agents_use_and_when_they_end(client: Client) -> None:
    client.request({"type": "subscribe_to_updates", "channels": ["agent_status"]})
    task = working(client)
    update = client.wait(
        lambda m: m["type"] == "agent_update" and m["agent"]["id"] == task["id"], patience=15
    )
    shown = update["agent"]
    assert (shown["status"], shown["type"]) == ("running", "opencode")
    assert shown["memory_usage"] > 1_000_000
    assert TIME.match(shown["timestamp"])
    client.request({"type": "cancel_task", "task_id": task["id"]})
    client.rewind()
    last = client.wait(
        lambda m: (
            m["type"] == "agent_update"
            and m["agent"]["id"] == task["id"]
            and m["agent"]["status"] == "cancelled"
        ),
        patience=15,
    )
    assert last["agent"]["progress"] == 0


def test_ends_an_agent_of_somebody_else(client: Client, start: Start, opencode: str) -> None:
    foreign = start(opencode, "60")
    reply = client.request({"type": "kill_process", "pid": foreign.pid})
    assert reply["type"] == "process_killed"
    data = reply["data"]
    assert (data["pid"], data["signal"], data["success"]) == (foreign.pid, "SIGTERM", True)
    assert TIME.match(data["termination_time"])
    assert foreign.wait(1) == -15


def test_fails_a_run_whose_agent_is_ended_as_killed(client: Client) -> None:
    task = working(client)
    reply = client.request({"type": "kill_process", "pid": task["runs"][0]["agent_pid"], "signal": "SIGKILL"})
    assert reply["type"] == "process_killed"
    ended = client.until_status(task["id"], "failed", "completed", "cancelled")
    assert (ended["status"], ended["failure_reason"]) == ("failed", "killed")


def test_ends_what_a_run_has_started_and_leaves_the_run(client: Client) -> None:
    task = working(client)
    (child,) = psutil.Process(task["runs"][0]["agent_pid"]).children()
    reply = client.request({"type": "kill_process", "pid": child.pid, "signal": "SIGKILL"})
    assert reply["type"] == "process_killed"
    assert gone(child)
    assert client.task(task["id"])["status"] == "running"
    client.request({"type": "cancel_task", "task_id": task["id"]})


def test_says_that_a_process_outlived_its_signal(client: Client) -> None:
    task = working(client)
    (child,) = psutil.Process(task["runs"][0]["agent_pid"]).children()
    answer = client.request({"type": "kill_process", "pid": child.pid})
    assert_error(answer, "PROCESS_KILL_FAILED", pid=child.pid)
    assert answer["message"].startswith(f"Failed to kill process {child.pid}: ")
    assert not gone(child)
    client.request({"type": "cancel_task", "task_id": task["id"]})


def test_refuses_everything_else(client: Client, server: Server, start: Start) -> None:
    bystander = start("sleep", "60")
    renamed = start("sleep", "60", executable=shutil.which("sleep"))
    pretender = start("opencode", "60", executable=shutil.which("sleep"))
    task = working(client)
    others = [server.process.pid, *(server.child(name) for name in ("web", "worker", "valkey"))]
    refused = [1, 0, -1, os.getpid(), bystander.pid, renamed.pid, pretender.pid, *others]
    for pid in [*refused, task["runs"][0]["supervisor_pid"]]:
        assert_error(
            client.request({"type": "kill_process", "pid": pid, "signal": "SIGKILL"}), "PERMISSION_DENIED"
        )
    assert all(process.poll() is None for process in (bystander, renamed, pretender))
    assert client.request({"type": "ping"})["type"] == "pong"
    client.request({"type": "cancel_task", "task_id": task["id"]})


def test_names_what_is_wrong_with_a_kill(client: Client, start: Start) -> None:
    gone = start("true")
    gone.wait()
    assert_error(client.request({"type": "kill_process", "pid": gone.pid}), "PROCESS_NOT_FOUND", pid=gone.pid)
    assert_error(client.request({"type": "kill_process"}), "MISSING_REQUIRED_FIELD", field="pid")
    for bad in ({"pid": "1"}, {"pid": 1.5}, {"pid": 2, "signal": "SIGSTOP"}, {"pid": 2, "signal": 9}):
        assert_error(client.request({"type": "kill_process", **bad}), "INVALID_FIELD_VALUE")


def test_measures_its_own_answers(client: Client) -> None:
    metrics = {"type": "request_performance_metrics", "time_range": "10m"}
    # The trends begin with the worker's first samples.
    eventually(
        "the machine was sampled", lambda: client.request(metrics)["data"]["resource_usage"]["cpu_trend"]
    )
    before = client.request({"type": "request_performance_metrics", "time_range": "10m"})["data"]
    for _ in range(50):
        client.request({"type": "ping"})
        client.request({"type": "cancel_task", "task_id": "nobody"})
    data = client.request({"type": "request_performance_metrics", "time_range": "10m"})["data"]
    times = data["response_times"]
    assert 0 < times["min"] <= times["average"] <= times["max"]
    assert times["min"] <= times["p95"] <= times["p99"] <= times["max"]
    found = data["error_rates"]["errors_by_type"]["TASK_NOT_FOUND"]
    assert found - before["error_rates"]["errors_by_type"].get("TASK_NOT_FOUND", 0) == 50
    assert data["error_rates"]["total_errors"] >= 50
    answered = (data["throughput"]["requests_per_second"] - before["throughput"]["requests_per_second"]) * 600
    assert answered == pytest.approx(101, abs=2)
    assert data["throughput"]["bytes_per_second"] > before["throughput"]["bytes_per_second"]
    usage = data["resource_usage"]
    assert 0 < len(usage["cpu_trend"]) == len(usage["memory_trend"]) == len(usage["timestamps"]) <= 60
    assert TIME.match(data["timestamp"])
    for bad in ("1y", "h", "-1h", "31d", "0s", 60):
        request = {"type": "request_performance_metrics", "time_range": bad}
        assert_error(client.request(request), "INVALID_FIELD_VALUE", field="time_range")
