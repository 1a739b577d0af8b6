"""`manage.py doctor`, through its real entry point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.opencode_site.serve.served import Serve, short_directory
from tests.support.server import ROOT
from tests.support.waiting import eventually


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with short_directory() as path:
        yield path


def doctor(data_dir: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "doctor", *arguments],
        cwd=ROOT,
        env={**os.environ, "OPENCODE_DATA_DIR": str(data_dir), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def states(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    assert done.stdout, done.stderr
    return {each["name"]: each["state"] for each in json.loads(done.stdout)}


def script(path: Path, body: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o700)
    return str(path)


def test_says_how_to_start_a_server_that_does_not_run_and_calls_that_no_fault(data_dir: Path) -> None:
    agent = script(data_dir.parent / "opencode", "echo 1.2.3")
    done = doctor(data_dir, OPENCODE_BIN=agent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"ok      agent opencode  {agent}: 1.2.3\n" in done.stdout
    assert "→ Start the server: make serve" in done.stdout
    assert "\x1b" not in done.stdout


def test_finds_a_running_server_well(data_dir: Path) -> None:
    agent = script(data_dir.parent / "opencode", "echo 1.2.3")
    server = Serve(data_dir, OPENCODE_BIN=agent)
    try:
        server.until_ready()
        eventually("a sample", lambda: server.rows("select 1 from monitoring_resourcesample"))
        done = doctor(data_dir, "--json", OPENCODE_BIN=agent)
    finally:
        server.clean_up()
    assert done.returncode == 0
    assert set(states(done).values()) == {"ok"}, done.stdout
    assert {"packages", "database", "broker", "worker", "beat", "disk"} <= states(done).keys()


def test_tells_what_is_wrong_with_its_mend_and_exit_code_1(data_dir: Path) -> None:
    broken = script(data_dir.parent / "opencode", "echo no such library >&2; exit 3")
    nowhere = str(data_dir.parent / "nowhere")
    done = doctor(
        data_dir,
        "--json",
        OPENCODE_BIN=broken,
        OPENCODE_HOST="0.0.0.0",
        OPENCODE_PROJECT_DIR=nowhere,
    )
    assert done.returncode == 1
    told = {(each["name"], each["state"]): each for each in json.loads(done.stdout)}
    assert "ended with 3: no such library" in told["agent opencode", "error"]["seen"]
    assert "--version` by hand" in told["agent opencode", "error"]["mend"]
    assert f"mkdir -p {nowhere}" in told["project", "error"]["mend"]
    assert "settings" in {name for name, state in told if state == "error"}
    assert "opencode.E002" in done.stdout


def test_tells_of_open_files_and_of_what_is_not_there(data_dir: Path) -> None:
    data_dir.mkdir(mode=0o700)
    (data_dir / "logs").mkdir(mode=0o755)
    done = doctor(data_dir, OPENCODE_BIN="no-such-agent", REDIS_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 1
    assert f"→ chmod go-rwx {data_dir / 'logs'}" in done.stdout
    assert "agent opencode  not found" in done.stdout
    assert "error   broker" in done.stdout
