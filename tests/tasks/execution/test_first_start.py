"""A newly installed agent starts once alone; here with executables of the tests' own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.agents.opencode import OpenCode
from tasks.execution import first_start
from tasks.execution.first_start import ensure_started_once

Agent = Callable[[str], Path]


@pytest.fixture
def starts(tmp_path: Path) -> Path:
    """Each start of the agent adds a line to this file."""
    return tmp_path / "starts"


@pytest.fixture
def agent(settings: Any, tmp_path: Path, starts: Path) -> Agent:
    settings.DATA_DIR = tmp_path

    def write(script: str) -> Path:
        path = tmp_path / "opencode"
        path.write_text(f'#!/bin/sh\necho "$* in $HOME" >> {starts}\n{script}\n')
        path.chmod(0o700)
        return path

    return write


def start(executable: Path, home: str = "/home/somebody") -> None:
    ensure_started_once(OpenCode(), executable, {"PATH": "/usr/bin:/bin", "HOME": home, "SHLVL": "7"})


def test_starts_once_however_many_ask_at_the_same_time(agent: Agent, starts: Path) -> None:
    executable = agent("sleep 0.3")
    callers = [threading.Thread(target=start, args=(executable,)) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    start(executable)
    assert starts.read_text() == "db select 1 in /home/somebody\n"


def test_starts_again_after_an_upgrade_and_for_another_home(agent: Agent, starts: Path) -> None:
    start(agent("exit 0"))
    start(agent("exit 0 # and something new"))
    start(agent("exit 0 # and something new"), home="/home/other")
    assert len(starts.read_text().splitlines()) == 3


def test_says_what_an_agent_said_that_failed_and_does_not_insist(
    agent: Agent, starts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    executable = agent("echo 'no room for a database' >&2; exit 3")
    start(executable)
    start(executable)
    assert "failed (exit code 3): no room for a database" in caplog.text
    assert len(starts.read_text().splitlines()) == 1


def test_ends_a_first_start_that_hangs(
    agent: Agent, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_start, "PATIENCE", 0.2)
    start(agent("exec sleep 60"))
    assert "took more than 0.2 s and was ended" in caplog.text


def test_says_so_if_the_executable_has_vanished(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    executable = agent("exit 0")
    executable.unlink()
    start(executable)
    assert "could not be made" in caplog.text
