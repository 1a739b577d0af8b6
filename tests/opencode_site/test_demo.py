"""`manage.py demo` with the real opencode: it shows what it promises, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.model_server import find_opencode
from tests.support.server import ROOT
from tests.support.waiting import eventually

Demo = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A directory for temporary files, with a path as short as a user's: there is a socket below it."""
    with tempfile.TemporaryDirectory(prefix="oc-", dir="/tmp") as directory:
        yield Path(directory)


@pytest.fixture
def demo(tmp_path: Path, temporary: Path) -> Iterator[Demo]:
    """Starts the command as a newcomer would."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        home = tmp_path / "home"
        home.mkdir()
        process = subprocess.Popen(
            [sys.executable, "manage.py", "demo", "--port", "0", *arguments],
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(home),
                "TMPDIR": str(temporary),
                # Of the user's own server: neither is asked nor touched.
                "DATABASE_URL": "postgres://nobody@127.0.0.1:1/nothing",
                "REDIS_URL": "redis://127.0.0.1:1/0",
                "OPENCODE_DATA_DIR": str(tmp_path / "own"),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)


@pytest.fixture
def opencode() -> str:
    found = find_opencode()
    if found is None:
        pytest.skip("there is no opencode executable: set OPENCODE_BIN or put it on the PATH")
    return str(found)


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


@pytest.mark.real
def test_a_real_agent_mends_the_project_and_nothing_is_left(
    demo: Demo, opencode: str, tmp_path: Path, temporary: Path
) -> None:
    process = demo("--once", "--pace", "0", OPENCODE_BIN=opencode)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    mended = [line for line in said.splitlines() if "mend-the-average" in line]
    for earlier, later in (
        ("unittest -v (exit code 1)", "edit: tally.py"),
        ("edit: tally.py", "unittest -v"),
        ("todos: 4 of 4 done", "Task completed successfully"),
    ):
        place = next(number for number, line in enumerate(mended) if earlier in line)
        assert any(later in line for line in mended[place + 1 :]), said
    assert not any("exit code" in line for line in mended[-4:]), said
    # It waited for the mending.
    assert said.index("write: README.md") > said.index("Mended: both tests pass")
    assert said.count("Task completed successfully") == 3
    assert names(temporary) == []
    assert not list((tmp_path / "own").glob("*.sqlite3*"))
    assert names(tmp_path / "home") == []


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_takes_everything_away_when_it_is_interrupted(
    demo: Demo, opencode: str, temporary: Path, signum: signal.Signals
) -> None:
    process = demo(OPENCODE_BIN=opencode)
    assert process.stdout is not None
    said = ""
    while "Three tasks are queued" not in said:
        said += (line := process.stdout.readline())
        assert line, said
    below = psutil.Process(process.pid).children(recursive=True)
    assert below
    process.send_signal(signum)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signum
    eventually("a process is left", lambda: not any(each.is_running() for each in below), patience=10)
    assert names(temporary) == []


def test_says_how_to_install_an_agent_when_there_is_none(demo: Demo, tmp_path: Path) -> None:
    bare = tmp_path / "bin"
    bare.mkdir()
    process = demo("--once", PATH=str(bare))
    said, _ = process.communicate(timeout=60)
    assert (process.returncode, said.count("\n")) == (2, 1), said
    assert "npm install -g opencode-ai" in said


def test_says_so_when_somebody_else_has_its_port(demo: Demo, opencode: str, temporary: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = demo("--once", f"--port={taken.getsockname()[1]}", OPENCODE_BIN=opencode)
        said, _ = process.communicate(timeout=60)
    assert (process.returncode, said.count("\n")) == (6, 2), said
    assert "the demo's server did not start" in said
    assert names(temporary) == []


@pytest.mark.parametrize(("option", "value"), [("--pace", "-1"), ("--pace", "soon"), ("--port", "x")])
def test_refuses_what_it_does_not_understand(demo: Demo, option: str, value: str) -> None:
    process = demo("--once", f"{option}={value}")
    said, _ = process.communicate(timeout=60)
    assert (process.returncode, said.count("\n")) == (2, 1), said
    assert said.startswith(f"error: Invalid {option.removeprefix('--')} value"), said
