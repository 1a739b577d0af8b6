"""The commands through their real entry point, beside a running server and without one."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import get_commands

from tests.opencode_site.cli.conftest import Manage
from tests.support.disks import mounted, read_only
from tests.support.server import ROOT, Server

COMMANDS = sorted(name for name, app in get_commands().items() if app == "opencode_site")


def orders(**what: object) -> str:
    return json.dumps(what)


def test_follows_a_task_to_its_end_with_each_line_once(manage: Manage) -> None:
    done = manage("submit", "--id", "f1", "--follow", "-", stdin=orders(lines=60, pause=0.1))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "f1\n"
    said = [line.split("line ")[1] for line in done.stderr.splitlines() if " line " in line]
    assert said == [str(number) for number in range(60)]
    assert done.stderr.rstrip().endswith("Task completed successfully")
    assert "\x1b" not in done.stderr


def test_tells_the_outcome_by_the_exit_code(manage: Manage, tmp_path: Path) -> None:
    file = tmp_path / "orders"
    file.write_text(orders(exit=3))
    failed = manage("submit", "--id", "o1", "--file", str(file), "--wait")
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: the task is failed: ")
    assert len(failed.stderr.splitlines()) == 1
    retried = manage("retry", "o1")
    assert (retried.returncode, retried.stdout) == (0, "o1 is pending, retry 1\n")
    assert manage("tail", "o1").returncode == 0
    runs = json.loads(manage("runs", "o1", "--json").stdout)
    assert [run["number"] for run in runs] == [2, 1]


def test_cancels_a_running_task_and_says_so_to_who_follows(manage: Manage, server: Server) -> None:
    words = orders(lines=1000, pause=1)
    following = subprocess.Popen(
        [sys.executable, "manage.py", "submit", "--id", "c1", "--follow", words],
        cwd=ROOT,
        env=server.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert following.stderr is not None
    assert any("line 3" in line for line in following.stderr)
    done = manage("cancel", "--wait", "c1", "nobody")
    assert done.stdout == "c1 is cancelled\n"
    assert (done.returncode, done.stderr) == (4, "error: Task with ID 'nobody' not found\n")
    _, rest = following.communicate(timeout=30)
    assert following.returncode == 3, rest
    assert manage("cancel", "c1").returncode == 6


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("submit", "--priority", "urgent", "x"), 2, "Valid values are: low, medium, high"),
        (("submit", "--timeout", "soon", "x"), 2, "Expected a whole number"),
        (("submit", "--depends-on", "nobody", "x"), 4, "'nobody' not found"),
        (("submit", "--file", "/nowhere"), 2, "No such file"),
        (("submit",), 2, "give the description once"),
        (("tasks", "--status", "lost"), 2, "Valid values are: pending"),
        (("tasks", "--agent", "hal"), 2, "Valid values are: opencode"),
        (("tail", "nobody"), 4, "'nobody' not found"),
        (("retry", "\x1b[31mnobody"), 4, "not found"),
    ],
)
def test_says_in_one_line_what_is_wrong(
    manage: Manage, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = manage(*arguments)
    assert done.returncode == code
    assert says in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stderr
    assert not done.stdout


@pytest.mark.parametrize("columns", [80, 120])
def test_shows_foreign_text_harmlessly_and_within_the_width(manage: Manage, columns: int) -> None:
    first, evil = f"first{columns}", f"[red]{columns}[/] \x1b]0;owned\x07\x1b[2J\u202e" + "x" * 200
    assert manage("submit", "--id", first, orders(lines=1000, pause=1)).returncode == 0
    assert manage("submit", "--depends-on", first, "--type", "evil", evil).returncode == 0
    shown = manage("tasks", "--type", "evil", COLUMNS=str(columns)).stdout
    assert manage("cancel", first).returncode == 0
    assert f"[red]{columns}[/]" in shown
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)
    assert max(map(len, shown.splitlines())) <= columns


def test_lists_hosts_processes_and_tasks(manage: Manage) -> None:
    (host,) = json.loads(manage("hosts", "--json").stdout)
    assert host["state"] == "alive"
    assert host["name"] in manage("hosts").stdout
    everything = json.loads(manage("processes", "--all", "--limit", "3", "--json").stdout)
    assert len(everything) == 3
    assert manage("submit", "--id", "listed", "--type", "listing", orders()).returncode == 0
    (task,) = json.loads(manage("tasks", "--type", "listing", "--json").stdout)
    assert (task["id"], task["priority"]) == ("listed", "medium")


@pytest.mark.parametrize("command", ["tasks --json", "doctor", "export_tasks", "asyncapi", "prune --json"])
def test_ends_quietly_when_nobody_reads(server: Server, command: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "manage.py", *command.split()],
        cwd=ROOT,
        env=server.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(30), said) == (141, "")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_a_manual(manage: Manage, name: str) -> None:
    manual = manage(name, "--help", COLUMNS="80").stdout
    assert f"  manage.py {name}" in manual
    assert "exit codes:" in manual


@pytest.mark.parametrize(
    "command", ["tasks", "export_tasks", "prune", "apikey list", "backup x.tar", "submit hello", "tail t"]
)
def test_says_how_to_mend_a_database_that_is_not_there(manage: Manage, tmp_path: Path, command: str) -> None:
    empty = manage(*command.split(), OPENCODE_DATA_DIR=str(tmp_path / "var"))
    away = manage(*command.split(), DATABASE_URL="postgres://nobody@127.0.0.1:1/none")
    for done, mends in ((empty, "manage.py migrate"), (away, "DATABASE_URL")):
        assert (done.returncode, mends in done.stderr) == (5, True), done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_does_not_wait_for_ever_for_a_database_that_says_nothing(manage: Manage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgres://nobody@127.0.0.1:{silent.getsockname()[1]}/none"
        done = manage("tasks", DATABASE_URL=url)
    assert (done.returncode, done.stderr.count("\n")) == (5, 1), done.stderr
    assert "timeout" in done.stderr


@pytest.mark.parametrize("command", ["tasks", "submit hello", "doctor", "prune", "demo --once"])
def test_says_in_one_line_that_the_data_directory_may_not_be_written(
    manage: Manage, tmp_path: Path, command: str
) -> None:
    with mounted(tmp_path, kib=1024):
        read_only(tmp_path)
        done = manage(*command.split(), OPENCODE_DATA_DIR=str(tmp_path / "var"))
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert re.fullmatch(r"error: OPENCODE_DATA_DIR is .*Read-only file system\n", done.stderr)


def test_says_what_a_directory_lacks_that_it_may_not_write_to(manage: Manage, tmp_path: Path) -> None:
    file = tmp_path / "not-a-directory"
    file.touch()
    for command in ("export_tasks", "backup"):
        done = manage(command, str(file / "tasks.jsonl"))
        assert (done.returncode, "cannot write" in done.stderr) == (2, True), done.stderr
        assert len(done.stderr.splitlines()) == 1
