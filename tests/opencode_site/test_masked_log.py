"""The server's own log."""

from __future__ import annotations

import json
import logging
import logging.config
import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from monitoring.about import AboutFilter, about
from tests.support.client import Client
from tests.support.server import Server

KEY = f"ghp_{'a1' * 18}"
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")


def formatter(name: str) -> logging.Formatter:
    """As the settings make it."""
    formatters: dict[str, Any] = settings.LOGGING["formatters"]  # type: ignore[assignment]
    wanted = dict(formatters[name])
    configurator = logging.config.DictConfigurator({"version": 1, "formatters": {}})
    made: logging.Formatter = configurator.configure_formatter(wanted)
    return made


def record(message: str, *args: Any, error: Exception | None = None) -> logging.LogRecord:
    caught = (type(error), error, None) if error else None
    made = logging.makeLogRecord(
        {"name": "tasks", "levelname": "WARNING", "msg": message, "args": args, "exc_info": caught}
    )
    AboutFilter().filter(made)
    return made


@pytest.mark.parametrize("name", ["line", "json"])
def test_hides_secrets_in_messages_and_tracebacks(name: str) -> None:
    error = ConnectionError("redis://:hunter2hunter2@broker/0 is away")
    text = formatter(name).format(record("key %s", KEY, error=error))
    assert "key ghp_[masked]" in text
    assert "redis://:[masked]@broker/0 is away" in text
    assert "hunter2" not in text


def test_says_which_task_and_run_a_line_is_about() -> None:
    with about("a", 7):
        inside = record("it failed")
    assert formatter("line").format(inside).endswith("WARNING tasks: it failed [task a, run 7]")
    assert formatter("line").format(record("all is well")).endswith("WARNING tasks: all is well")
    told = json.loads(formatter("json").format(inside))
    assert TIME.match(told.pop("time"))
    assert told == {"level": "WARNING", "logger": "tasks", "message": "it failed", "task": "a", "run": "7"}
    told = json.loads(formatter("json").format(record("all is well")))
    assert (told["task"], told["run"]) == (None, None)


def test_stays_json_whatever_is_masked_in_it() -> None:
    error = ValueError('a "quoted" \\ text\nof two lines')
    line = formatter("json").format(record('"%s" \x00 ü', KEY, error=error))
    assert "\n" not in line
    told = json.loads(line)
    assert told["message"] == '"ghp_[masked]" \x00 ü'
    assert told["traceback"].endswith('a "quoted" \\ text\nof two lines')


def test_a_running_server_writes_nothing_but_objects_where_it_is_asked_to(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "opencode")
    Path(nowhere).write_text("no program")
    Path(nowhere).chmod(0o755)
    with Server(tmp_path, OPENCODE_BIN=nowhere, OPENCODE_LOG_FORMAT="json") as server:
        with server.connect() as client:
            run = failed(client, "broken")
        logs = {name: (server.data_dir / "logs" / f"{name}.log").read_text() for name in ("web", "worker")}
    told = [json.loads(line) for text in logs.values() for line in text.splitlines()]
    assert {"time", "level", "logger", "message", "task", "run"} <= set.intersection(*map(set, told))
    assert all(TIME.match(each["time"]) for each in told)
    ours = [each for each in told if each["task"] == "broken"]
    assert ours, told
    assert {each["run"] for each in ours} == {run}


def failed(client: Client, task_id: str) -> str:
    """The id of the run that the task has failed with."""
    client.request({"type": "subscribe_to_updates", "channels": ["task_status"]})
    client.start(task_id)
    task = client.until_status(task_id, "failed")
    run: str = task["runs"][0]["id"]
    return run
