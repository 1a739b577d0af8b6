"""A canary is printed in every way that an agent can, and then looked for in every place but its own."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support import leaky
from tests.support.server import Server

CANARY = "c4n4ryC4N4RYc4n4ryC4N4RYc4n4ryC4N4RYc4n4r7"
SECRETS = [
    f"sk-ant-api03-{CANARY}",
    f"ghp_{CANARY}",
    f"Authorization: Bearer {CANARY}",
    f"MY_API_KEY={CANARY}",
    f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n{CANARY}\n-----END PRIVATE KEY-----",
    f"https://user:{CANARY}@host/path",
]
OWN = {
    "SECRET_KEY": "own-secret-key-that-no-agent-may-see-0123456789-0123456789",
    "OPENCODE_ADMIN_PASSWORD": "own-admin-password",
    "DJANGO_SUPERUSER_PASSWORD": "own-django-password",
    "CELERY_BROKER_PASSWORD": "own-celery-password",
    "SOMETHING_PRIVATE": "own-something",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    given: dict[str, Any] = {**OWN, "ANTHROPIC_API_KEY": "the-agent-needs-it", "OPENCODE_BIN": leaky.__file__}
    with Server(tmp_path_factory.mktemp("secrets"), **given) as started:
        yield started


@pytest.fixture(scope="module")
def leaked(server: Server) -> dict[str, Any]:
    """What a client was sent, and the agent's environment, after a run that printed the canary."""
    directory = server.data_dir.parent
    orders: dict[str, Any] = {
        "secrets": [secret[::-1] for secret in SECRETS],
        "environment": str(directory / "environment"),
        "go_on": str(directory / "go-on"),
    }
    with server.connect() as client:
        client.request(
            {"type": "subscribe_to_updates", "channels": ["log_entries", "task_status", "agent_status"]}
        )
        client.start("leaky", description=json.dumps(orders))
        said = client.wait(
            lambda m: m["type"] == "log_entry" and m["log"]["message"].startswith("child "), patience=60
        )
        pid = int(said["log"]["message"].split()[1])
        child = client.process(pid)
        client.request({"type": "request_claude_processes"})
        ours = [process.cmdline() for process in psutil.Process(server.process.pid).children(recursive=True)]
        ours += [each.cmdline() for each in psutil.Process(pid).parents()[:2]]
        Path(orders["go_on"]).touch()
        client.until_status("leaky", "failed")
        client.logs("leaky")
        client.request({"type": "request_status"})
        return {
            "frames": json.dumps(client.received),
            "child": child,
            "ours": json.dumps(ours),
            "environment": json.loads(Path(orders["environment"]).read_text()),
        }


def test_sends_a_client_no_secret_that_an_agent_printed(leaked: dict[str, Any]) -> None:
    assert "[masked]" in leaked["frames"]
    assert CANARY not in leaked["frames"]


def test_masks_command_lines(leaked: dict[str, Any]) -> None:
    assert CANARY not in leaked["child"]["cmdline"]
    assert "sk-[masked]" in leaked["child"]["cmdline"]
    assert leaked["child"]["task_id"] == "leaky"


def test_stores_no_secret_that_an_agent_printed(server: Server, leaked: dict[str, Any]) -> None:
    with closing(sqlite3.connect(server.data_dir / "db.sqlite3")) as database:
        dump = "\n".join(database.iterdump())
    assert "[masked]" in dump
    assert CANARY not in dump
    for log in (server.data_dir / "logs").iterdir():
        assert CANARY not in log.read_text()


def test_gives_agents_the_keys_that_they_need_and_nothing_of_our_own(leaked: dict[str, Any]) -> None:
    environment = leaked["environment"]
    assert environment["ANTHROPIC_API_KEY"] == "the-agent-needs-it"
    assert not set(OWN) & set(environment)
    assert not set(OWN.values()) & set(environment.values())
    # Nor in a command line, which everybody may read: agent, supervisor, serve and its own.
    assert not [secret for secret in (*OWN.values(), "the-agent-needs-it") if secret in leaked["ours"]]
    assert not [name for name in environment if name in ("DATABASE_URL", "REDIS_URL", "OPENCODE_DATA_DIR")]


def test_keeps_everything_to_its_own_user(server: Server, leaked: dict[str, Any]) -> None:
    assert stat.S_IMODE(server.data_dir.stat().st_mode) == 0o700
    (run,) = (server.data_dir / "runs").iterdir()
    assert {"prompt", "stdout", "stderr"} <= {path.name.partition(".")[0] for path in run.iterdir()}
    for path in server.data_dir.rglob("*"):
        assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_lets_no_other_user_reach_broker_or_spool(server: Server, leaked: dict[str, Any]) -> None:
    (run,) = (server.data_dir / "runs").iterdir()
    attack = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "for attempt in (lambda: s.connect(sys.argv[1]), *(lambda p=p: open(p) for p in sys.argv[2:])):\n"
        "    try: attempt()\n"
        "    except PermissionError: print('refused')\n"
    )
    files = [server.data_dir / "valkey.sock", next(run.glob("stdout*")), server.data_dir / "db.sqlite3"]
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", attack]
    # Even if somebody opens the directory: what lies in it is closed by itself.
    modes = {
        path: stat.S_IMODE(path.stat().st_mode) for path in [server.data_dir, *server.data_dir.parents[:-2]]
    }
    modes |= {run: 0o700, run.parent: 0o700}
    try:
        for path in modes:
            path.chmod(0o755)
        done = subprocess.run([*nobody, *map(str, files)], capture_output=True, text=True, check=True)
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
    assert done.stdout.split() == ["refused"] * 3
