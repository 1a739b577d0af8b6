"""A really started server whose agent is the small one of the tests, and the commands beside it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import agent
from tests.support.server import ROOT, Server

Manage = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("commands")
    with Server(directory, OPENCODE_BIN=str(Path(agent.__file__)), OPENCODE_KILL_GRACE="1") as started:
        yield started


@pytest.fixture
def manage(server: Server) -> Manage:
    """Runs a command as a person without a terminal would."""

    def run(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env={**server.environment, **environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run
