"""A database that somebody else keeps locked for longer than anybody waits: half a minute with SQLite."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from tests.support.stack import Stack


@pytest.mark.slow
def test_tells_of_a_database_that_stays_locked_and_goes_on_when_it_is_free() -> None:
    task = {"id": "locked-out", "type": "testing", "priority": "low", "description": "d"}
    with Stack() as stack, stack.connect() as client:
        with closing(sqlite3.connect(stack.data_dir / "db.sqlite3", isolation_level=None)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            answer = client.request({"type": "start_task", "task": task}, patience=90)
            assert (answer["type"], answer["code"]) == ("error", "DATABASE_ERROR")
            assert "locked" not in answer["message"]
            # Whoever only reads is not held up.
            assert client.request({"type": "list_tasks"})["total_count"] == 0
            lock.execute("ROLLBACK")
        assert f"start_task failed, reference {answer['details']['reference']}" in stack.log.read_text()
        assert "database is locked" in stack.log.read_text()
        assert client.request({"type": "start_task", "task": task})["type"] == "task_started"
