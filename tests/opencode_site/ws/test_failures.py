"""What a client hears when something behind the server fails, and that nobody else suffers."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.db import InterfaceError, OperationalError

from opencode_site.ws.errors import Code, unexpected
from tests.support.client import Client, Message
from tests.support.disks import fill, mounted, read_only
from tests.support.stack import Stack

pytestmark = pytest.mark.alone

LIST = {"type": "list_tasks"}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(OPENCODE_KILL_GRACE="0") as started:
        yield started


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with stack.connect() as connected:
        yield connected


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OperationalError("database is locked"), Code.DATABASE_ERROR),
        (InterfaceError("connection already closed"), Code.DATABASE_ERROR),
        (OSError(28, "No space left on device", "/secret/path"), Code.FILESYSTEM_ERROR),
        (KeyError("secret"), Code.INTERNAL_ERROR),
    ],
)
def test_tells_a_reference_and_logs_the_rest(
    error: Exception, code: Code, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        told = unexpected("list_tasks", error)
    assert told.code == code
    assert told.details["reference"] in told.message
    assert "secret" not in told.message
    (record,) = caplog.records
    assert told.details["reference"] in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_tells_a_broken_database_and_goes_on_when_it_is_mended(stack: Stack, client: Client) -> None:
    stack.query("ALTER TABLE tasks_task RENAME TO hidden")
    try:
        answer = client.request(LIST)
        assert (answer["type"], answer["code"]) == ("error", "DATABASE_ERROR")
        assert "hidden" not in json.dumps(answer)
        assert "tasks_task" not in json.dumps(answer)
        assert client.request({"type": "ping"})["type"] == "pong"
    finally:
        stack.query("ALTER TABLE hidden RENAME TO tasks_task")
    assert client.request(LIST)["type"] == "task_list"
    log = stack.log.read_text()
    assert f"list_tasks failed, reference {answer['details']['reference']}" in log
    assert "no such table" in log


@pytest.fixture
def spool(stack: Stack) -> Iterator[Path]:
    """The server's spool directory, a small file system of its own; there is no other host that had one."""
    stack.query("DELETE FROM tasks_host")
    directory = stack.data_dir / "runs"
    directory.mkdir()
    with mounted(directory, kib=64):
        yield directory
    directory.rmdir()


@pytest.mark.parametrize(
    ("without", "problem"), [("room", "No space left on device"), ("permission", "Read-only file system")]
)
def test_tells_a_spool_that_cannot_be_written(
    stack: Stack, client: Client, spool: Path, without: str, problem: str
) -> None:
    task_id = f"without-{without}"
    if without == "room":
        fill(spool / "ballast")
    else:
        read_only(spool)
    answer = client.start(task_id)
    assert (answer["type"], answer.get("code")) == ("error", "FILESYSTEM_ERROR")
    assert problem in answer["message"]
    assert str(stack.data_dir) not in json.dumps(answer)
    assert f"the spool directory {spool} cannot be written" in stack.log.read_text()
    assert client.request(LIST)["type"] == "task_list"
    assert client.request({"type": "get_task_status", "task_id": task_id})["code"] == "TASK_NOT_FOUND"
    if without == "room":
        (spool / "ballast").unlink()
        assert client.start("with-room")["type"] == "task_started"


def test_answers_everybody_else_while_some_wait_for_the_database(stack: Stack, client: Client) -> None:
    path = stack.data_dir / "db.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as lock, stack.connect() as other:
        lock.execute("BEGIN IMMEDIATE")
        answers: list[Message] = []
        waiting = threading.Thread(target=lambda: answers.append(client.start("patient")))
        waiting.start()
        for _ in range(20):
            assert other.request({"type": "ping"}, patience=5)["type"] == "pong"
            assert other.request(LIST, patience=5)["type"] == "task_list"
        assert answers == []
        lock.execute("ROLLBACK")
        waiting.join(30)
        assert answers[0]["type"] == "task_started"


def run_without_a_worker(stack: Stack, task_id: str) -> None:
    """The task runs, as far as the database knows; nobody will stop it."""
    stack.python(
        "from django.utils import timezone\n"
        "from tasks import services\n"
        "services.report_host('h', slots=99, pid=1, started_at=timezone.now(), agents={})\n"
        f"assert {task_id!r} in [run.task_id for run in services.claim('h', 99)]\n"
    )


END = """
from tasks import services
from tasks.agents.base import Exit, Verdict
from tasks.models import Run
from monitoring.publish import flush
run = Run.objects.get(task_id={task_id!r}, ended_at=None)
services.finish(run, Verdict(succeeded={succeeded}, reason=None, detail=""),
    Exit(code=0, signal=None, stopped_by={stopped_by!r}), peak_memory=None, cpu_seconds=None)
flush()
"""


def test_replies_to_a_cancellation_when_the_run_has_ended(stack: Stack, client: Client) -> None:
    client.start("stopped")
    run_without_a_worker(stack, "stopped")
    client.send({"type": "cancel_task", "task_id": "stopped", "request_id": "c"})
    # The connection is not held up by it.
    assert client.task("stopped")["runtime_status"] == "cancelling"
    began = time.monotonic()
    stack.python(END.format(task_id="stopped", succeeded=False, stopped_by="cancelled"))
    reply = client.wait(lambda message: message.get("request_id") == "c")
    assert (reply["type"], reply["status"], reply["runtime_status"]) == (
        "task_cancelled",
        "cancelled",
        "cancelled",
    )
    assert time.monotonic() - began < 4.5, "it waited for its patience, not for the update"
    assert stack.groups() == set()


@pytest.mark.slow
def test_tells_the_truth_about_a_run_that_does_not_end(stack: Stack, client: Client) -> None:
    client.start("stubborn")
    run_without_a_worker(stack, "stubborn")
    began = time.monotonic()
    reply = client.request({"type": "cancel_task", "task_id": "stubborn"})
    assert 4.5 < time.monotonic() - began < 10
    assert (reply["type"], reply["task_id"]) == ("task_cancelled", "stubborn")
    assert (reply["status"], reply["runtime_status"]) == ("running", "cancelling")


def test_tells_the_truth_about_a_run_when_it_is_to_stop_itself() -> None:
    with Stack(OPENCODE_KILL_GRACE="60") as stack, stack.connect() as client:
        client.start("running")
        run_without_a_worker(stack, "running")
        client.send({"type": "cancel_task", "task_id": "running", "request_id": "c"})
        assert client.task("running")["runtime_status"] == "cancelling"
        began = time.monotonic()
        assert stack.stop_web() == 0
        assert time.monotonic() - began < 5
        reply = client.wait(lambda message: message.get("request_id") == "c")
        assert (reply["status"], reply["runtime_status"]) == ("running", "cancelling")


def test_counts_what_it_has_answered() -> None:
    with Stack() as stack:
        with stack.connect() as client:
            for _ in range(3):
                client.request({"type": "ping"})
            client.request({"type": "get_task_status", "task_id": "nobody"})
            client.send_text("no JSON")
            client.request({"type": "fly"})
        assert stack.stop_web() == 0
        assert stack.query("SELECT sum(count), sum(bytes) > 500 FROM monitoring_requestperiod") == [(6, 1)]
        errors = stack.query("SELECT errors FROM monitoring_requestperiod")
        named = [code for (text,) in errors for code in json.loads(str(text))]
        assert sorted(named) == ["INVALID_JSON", "TASK_NOT_FOUND", "UNKNOWN_MESSAGE_TYPE"]
