"""What a client sends is data: it becomes no flag, no variable, no path out of the roots, no program."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import scribe
from tests.support.client import Client
from tests.support.server import Server

TRICKS = {
    "dash": "--version",
    "dashes": "-- --model=evil --dir /etc",
    "newlines": "\n\n--help\r\n\x0b\x0c\u2028\u2029\n",
    "quotes": "'; touch /tmp/x; \" `id` $(id) ${HOME} $HOME && || | > < \\ \\n %s %n !! ~ * ?",
    "ansi": "\x1b[2J\x1b]0;title\x07\x1b[31mred\x9b31m\x07\x08\x7f\x01",
    "unicode": "\u202etxet desrever\u202c \u200bzero\u200d \ufeff e\u0301 日本 🎉 \U0010ffff",
    "long": "x" * 99_998 + "é\n",
    "slash": "/init /exit @/etc/passwd !id #x",
    "json": '{"type":"error","part":{}}\n{"type":"step_finish"}',
    "environment": "SECRET_KEY=1 OPENCODE_CONFIG_CONTENT={} PATH=/tmp",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {"OPENCODE_BIN": str(Path(scribe.__file__)), "OPENCODE_MAX_CONCURRENT_AGENTS": "4"}
    with Server(tmp_path_factory.mktemp("data"), **environment) as started:
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.connect() as connected:
        connected.request({"type": "subscribe_to_updates", "channels": ["task_status"]})
        yield connected


def received(server: Server, task_id: str) -> dict[str, Any]:
    """What the agent was given."""
    told: dict[str, Any] = json.loads((server.data_dir.parent / f"{task_id}.json").read_text())
    return told


def command(server: Server, task_id: str) -> list[str]:
    return [
        *("run", "--format", "json", "--dir", str(server.project_dir), "--title", task_id),
        *("--print-logs", "--log-level", "WARN"),
    ]


def test_gives_an_agent_every_description_byte_by_byte_and_nothing_else(
    server: Server, client: Client
) -> None:
    for name, text in TRICKS.items():
        assert client.start(name, description=text)["type"] == "task_started"
    for name, text in TRICKS.items():
        assert client.until_status(name, "completed", "failed")["status"] == "completed"
        told = received(server, name)
        assert told["prompt"] == text
        assert told["argv"] == command(server, name)
        assert told["cwd"] == told["pwd"] == str(server.project_dir)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("description", text) for text in ("nul \0 inside", "", "x" * 100_001)),
        *(
            ("files_pattern", text)
            for text in ("/etc/*", "../*", "a/../../b", "~/x", "C:\\x", "a\\..\\b", "\0")
        ),
        *(
            ("id", text)
            for text in ("--help", "-x", "../x", "a/b", "a b", "a\n", ".x", "é", "x" * 129, "a\0")
        ),
        *(("type", text) for text in ("--help", "Testing", "a b", "../x", "x" * 65)),
        *(("agent", text) for text in ("/bin/sh", "sh", "--help", "opencode2", "OpenCode")),
        *(("working_dir", text) for text in ("/", "/etc", "..", "../..", "/proc/self/root/etc", "\0", "~")),
        *(("timeout", value) for value in (-1, 0, 999, 10**12, "1000")),
        ("model", "x\0y"),
        ("dependencies", ["\0"]),
    ],
)
def test_refuses_what_is_no_data(server: Server, client: Client, field: str, value: Any) -> None:
    task = {"id": "refused", "type": "testing", "priority": "low", "description": "x", field: value}
    answer = client.request({"type": "start_task", "task": task})
    assert answer["code"] in {"INVALID_FIELD_VALUE", "PERMISSION_DENIED", "FILESYSTEM_ERROR"}, answer
    unknown = client.request({"type": "get_task_status", "task_id": "refused"})
    assert unknown["code"] == "TASK_NOT_FOUND"


def test_takes_no_command_line_no_flags_and_no_variables(server: Server, client: Client) -> None:
    more = {
        "argv": ["sh", "-c", "id"],
        "command": "id",
        "args": ["--evil"],
        "env": {"OPENCODE_BIN": "/bin/sh"},
        "executable": "/bin/sh",
        "cwd": "/etc",
        "model": "--evil=1",
        "files_pattern": "-x '; id' $(id) *.py",
    }
    assert client.start("more", description="do it", **more)["type"] == "task_started"
    client.until_status("more", "completed", "failed")
    told = received(server, "more")
    argv = command(server, "more")
    assert told["argv"] == [*argv[:7], "--model=--evil=1", *argv[7:]]
    assert told["prompt"].splitlines()[0] == "do it"
    assert more["files_pattern"] in told["prompt"]


# --- Links ------------------------------------------------------------------------------------------------


def test_works_in_no_directory_that_was_swapped_for_a_link_after_it_was_checked(
    server: Server, client: Client, tmp_path: Path
) -> None:
    outside, inside = tmp_path / "outside", server.project_dir / "swapped"
    outside.mkdir()
    inside.mkdir()
    go_on = tmp_path / "go-on"
    assert client.start("gate", description=f"wait for {go_on}")["type"] == "task_started"
    for task_id in ("victim", "control"):
        directory = inside if task_id == "victim" else server.project_dir
        answer = client.start(task_id, working_dir=str(directory), dependencies=["gate"])
        assert answer["type"] == "task_started"
    inside.rmdir()
    inside.symlink_to(outside)
    go_on.touch()
    ended = client.until_status("victim", "failed", "completed")
    assert (ended["status"], ended["failure_reason"]) == ("failed", "working_dir")
    assert "outside the directories" in ended["error"]
    assert not (server.data_dir.parent / "victim.json").exists()
    assert client.until_status("control", "failed", "completed")["status"] == "completed"


def test_never_leaves_the_allowed_roots_however_fast_links_are_turned(
    server: Server, client: Client, tmp_path: Path
) -> None:
    """A directory that is a link out of the roots again and again, while tasks are started in it."""
    outside, inside, spare = tmp_path / "outside", server.project_dir / "inside", server.project_dir / "spare"
    for directory in (outside, inside):
        directory.mkdir()
    stop = threading.Event()

    def turn() -> None:
        # Longer right than wrong: some of the tasks must really run for this to say something.
        while not stop.wait(0.02):
            inside.rename(spare)
            inside.symlink_to(outside)
            stop.wait(0.001)
            inside.unlink()
            spare.rename(inside)

    turning = threading.Thread(target=turn)
    turning.start()
    try:
        answers = [client.start(f"race-{n}", working_dir=str(inside)) for n in range(60)]
        started = [f"race-{n}" for n, answer in enumerate(answers) if answer["type"] == "task_started"]
        refused = {answer["code"] for answer in answers if answer["type"] == "error"}
        ended = [client.until_status(task_id, "completed", "failed") for task_id in started]
    finally:
        stop.set()
        turning.join()
    assert refused <= {"PERMISSION_DENIED", "FILESYSTEM_ERROR"}
    # An agent whose directory is taken away while it starts may fail by itself, which is not the question.
    reasons = {None, "working_dir", "launch_failed", "agent_error"}
    assert {task.get("failure_reason") for task in ended} <= reasons
    ran = [server.data_dir.parent / f"{task_id}.json" for task_id in started]
    places = {json.loads(path.read_text())["cwd"] for path in ran if path.exists()}
    assert places <= {str(inside), str(spare)}
    assert places
