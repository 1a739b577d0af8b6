"""Log files, the status file, the checks before the start."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from opencode_site.serve import preflight, screen
from opencode_site.serve.logs import MAX_BYTES, LogFile
from opencode_site.serve.status import StatusFile
from tasks.execution import supervisor


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def test_moves_a_long_log_aside_while_it_is_written(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "logs" / "web.log")
    descriptor = log.open()
    os.write(descriptor, b"x" * (MAX_BYTES + 1))
    assert log.rotate()
    os.write(descriptor, b"new\n")
    os.close(descriptor)
    assert log.path.read_bytes() == b"new\n"
    assert (tmp_path / "logs" / "web.log.1").stat().st_size == MAX_BYTES + 1
    assert not log.rotate()


def test_finds_the_last_words_of_this_time_only(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "web.log")
    log.path.write_text("from before\n")
    size = log.size()
    assert log.last_line(since=size) == ""
    with log.path.open("a") as file:
        file.write("Traceback\nValueError: no\n\n")
    assert log.last_line(since=size) == "ValueError: no"


def test_ends_what_a_killed_server_left_behind(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    status = StatusFile(tmp_path)
    status.write({"children": {"web": {"pid": sleeper.pid, "identity": supervisor.identity(sleeper.pid)}}})
    assert status.end_leftovers() == [sleeper.pid]
    assert sleeper.wait(10) == -15
    assert not status.path.exists()


def test_leaves_a_stranger_alone_that_has_the_pid_now(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    status = StatusFile(tmp_path)
    status.write({"children": {"web": {"pid": sleeper.pid, "identity": "another:1"}}})
    assert status.end_leftovers() == []
    assert sleeper.poll() is None


def test_listens_on_ipv6_loopback() -> None:
    with preflight.listen("::1", 0, authenticated=False) as listener:
        assert listener.family == socket.AF_INET6


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_refuses_to_open_the_door_to_others(host: str) -> None:
    with pytest.raises(preflight.CannotServe, match="OPENCODE_HOST"):
        preflight.listen(host, 0, authenticated=False)


def test_finds_the_bundled_broker() -> None:
    version = subprocess.run(
        [preflight.valkey_server(), "--version"], capture_output=True, check=True, timeout=10
    )
    assert b"server v=" in version.stdout


def test_writes_addresses_that_a_browser_takes() -> None:
    assert screen.http_url("127.0.0.1", 8080) == "http://127.0.0.1:8080/"
    assert screen.http_url("::1", 8080) == "http://[::1]:8080/"


@pytest.mark.parametrize(
    ("count", "words"), [(0, "No agent is running"), (1, "1 agent goes on"), (2, "2 agents go on")]
)
def test_says_what_becomes_of_the_agents(count: int, words: str) -> None:
    text = screen.left_running(count)
    assert words in text
    assert ("--stop-agents" in text) == (count > 0)
