"""The client examples, run as the README says."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import agent
from tests.support.server import ROOT, Server

NODE = shutil.which("node")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("examples"), OPENCODE_BIN=str(Path(agent.__file__))) as started:
        yield started


def run(server: Server, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env={"OPENCODE_URL": server.url, "PATH": server.environment["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def javascript() -> list[str]:
    if NODE is None:
        pytest.skip("there is no node for the JavaScript example")
    options = ["--experimental-websocket", "--no-warnings"] if node_major() < 22 else []
    return [NODE, *options, "examples/client.mjs"]


def node_major() -> int:
    assert NODE is not None
    version = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True).stdout
    return int(version.removeprefix("v").split(".")[0])


@pytest.mark.parametrize("language", ["python", "javascript"])
@pytest.mark.parametrize(
    ("orders", "code", "end"), [({"lines": 2}, 0, "completed"), ({"exit": 4}, 1, "failed")]
)
def test_shows_what_the_agent_says_until_the_end(
    server: Server, language: str, orders: dict[str, int], code: int, end: str
) -> None:
    command = javascript() if language == "javascript" else [sys.executable, "examples/client.py"]
    done = run(server, *command, json.dumps(orders))
    assert done.returncode == code, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "----- pending 0 %"
    assert lines[-1].startswith(f"----- {end}")
    assert [line for line in lines if "line " in line] == [
        f"info  line {n}" for n in range(orders.get("lines", 1))
    ]


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_shows_what_the_server_refuses(server: Server, language: str) -> None:
    command = javascript() if language == "javascript" else [sys.executable, "examples/client.py"]
    done = run(server, *command, "x" * 100_001)
    assert done.returncode == 2
    assert done.stderr.startswith("INVALID_FIELD_VALUE: Invalid description value")


def snippet(language: str, server: Server) -> str:
    """The README's code in this language, for the port of a test's server."""
    found: list[str] = re.findall(
        rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert len(found) == 1
    assert "localhost:8080" in found[0]
    return found[0].replace("localhost:8080", f"127.0.0.1:{server.port}")


def test_the_readmes_python_follows_a_task_to_its_end(server: Server) -> None:
    # Our test agent takes a JSON object for its orders.
    code = snippet("python", server).replace("Write hello into hello.txt", "{}")
    done = run(server, sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    messages = [ast.literal_eval(line) for line in done.stdout.splitlines()]
    assert {"connection_established", "subscription_confirmed", "task_started"} <= {
        one["type"] for one in messages
    }
    assert (messages[-1]["task_id"], messages[-1]["new_status"]) == ("hello-1", "completed")


def test_the_readmes_javascript_lists_tasks(server: Server) -> None:
    command = [*javascript()[:-1], "--input-type=module", "--eval", snippet("js", server)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            # It stays connected, as a page would; whatever comes is shown.
            assert any("type: 'task_list'" in line for line in process.stdout)
        finally:
            process.kill()
