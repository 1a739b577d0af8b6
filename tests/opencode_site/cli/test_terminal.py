"""The commands as somebody sees them at a terminal, and what becomes of Ctrl-C."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from types import MappingProxyType

import pytest

from tests.opencode_site.cli.conftest import Manage
from tests.support.pseudo_terminal import CTRL_C, PseudoTerminal
from tests.support.server import ROOT, Server
from tests.support.waiting import eventually

ALTERNATE_SCREEN_LEFT, CURSOR_SHOWN = "\x1b[?1049l", "\x1b[?25h"
RED = "\x1b[31m"


def at_terminal(
    server: Server, *arguments: str, columns: int = 80, environment: Mapping[str, str] = MappingProxyType({})
) -> PseudoTerminal:
    return PseudoTerminal(
        [sys.executable, "manage.py", *arguments],
        cwd=str(ROOT),
        env={**server.environment, **environment},
        columns=columns,
    )


def status(manage: Manage, task_id: str) -> str:
    tasks = json.loads(manage("tasks", "--json", "--limit", "1000").stdout)
    return next(str(task["status"]) for task in tasks if task["id"] == task_id)


def test_watches_until_ctrl_c_and_leaves_the_terminal_as_it_was(server: Server, manage: Manage) -> None:
    with at_terminal(server, "tasks", "--watch", "--type", "watched") as terminal:
        terminal.until("No task matches")
        assert manage("submit", "--id", "w1", "--type", "watched", '{"lines": 20}').returncode == 0
        terminal.until("completed")
        assert "w1" in terminal.screen
        terminal.press(CTRL_C)
        assert terminal.ends() == 130
        assert "Traceback" not in terminal.written
        left = terminal.written.rindex(ALTERNATE_SCREEN_LEFT)
        assert CURSOR_SHOWN in terminal.written[left - 20 :]


def test_follows_with_a_bar_and_a_ctrl_c_lets_the_agent_go_on(server: Server, manage: Manage) -> None:
    words = json.dumps({"lines": 400, "pause": 1})
    with at_terminal(server, "submit", "--id", "w2", "--follow", words) as terminal:
        terminal.until("line 3")
        terminal.until("running")
        terminal.press(CTRL_C)
        assert terminal.ends() == 130
        assert "Traceback" not in terminal.written
        assert CURSOR_SHOWN in terminal.written
    assert status(manage, "w2") == "running"
    assert manage("cancel", "--wait", "w2").returncode == 0


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_what_is_written_at_a_terminal_only(
    server: Server, manage: Manage, environment: dict[str, str], coloured: bool
) -> None:
    name = f"coloured-{coloured}"
    assert manage("submit", "--id", name, "--wait", '{"exit": 3}').returncode == 1
    with at_terminal(server, "tail", "--no-follow", name, environment=environment) as terminal:
        assert terminal.ends() == 0
        assert "error" in terminal.screen
        assert (RED in terminal.written) is coloured
    assert "\x1b" not in manage("tail", "--no-follow", name, **environment).stdout


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize(
    "command", ["tasks", "runs", "hosts", "processes --all --limit 9", "prune --dry-run"]
)
def test_fits_the_terminal(server: Server, manage: Manage, command: str, columns: int) -> None:
    manage("submit", "--id", f"a-rather-long-name-of-a-task-{columns}", "word " * 100)
    with at_terminal(server, *command.split(), columns=columns) as terminal:
        assert terminal.ends() == 0
        shown = [line for line in terminal.lines if line.strip()]
        assert len(shown) > 1, terminal.screen
        assert max(map(len, shown)) <= columns, terminal.screen


def test_prunes_with_its_progress_and_an_interrupted_one_has_done_what_it_said(
    server: Server, manage: Manage
) -> None:
    count = partial(entries_of_old, server)
    with closing(sqlite3.connect(server.data_dir / "db.sqlite3", timeout=30)) as connection, connection:
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) "
            "INSERT INTO monitoring_logentry (time, level, message, agent, details) "
            "SELECT '2020-01-01 00:00:00', 'info', 'old', '', '{}' FROM n"
        )
    told = manage("prune", "--dry-run").stdout
    assert re.search(r"200,000\s+log entries\s+90 days", told), told
    assert count() == 200_000
    with at_terminal(server, "prune") as terminal:
        terminal.until("/200000")
        eventually("nothing goes", lambda: count() < 200_000, patience=30)
        terminal.press(CTRL_C)
        assert terminal.ends() == 130
        assert "Traceback" not in terminal.written
    left = count()
    assert 0 < left < 200_000
    done = manage("prune", "--json")
    assert (done.returncode, json.loads(done.stdout)["logs"]) == (0, left)
    assert count() == 0


def entries_of_old(server: Server) -> int:
    with closing(sqlite3.connect(server.data_dir / "db.sqlite3", timeout=30)) as connection:
        (number,) = connection.execute(
            "SELECT count(*) FROM monitoring_logentry WHERE time < '2021-01-01'"
        ).fetchone()
        return int(number)
