"""Fills a database with tasks, their runs and logs, by SQL; called with FIRST LAST LINES PENDING.

Tasks with the numbers FIRST to LAST - 1 are added, each with LINES log entries. All tasks that are there
but the last PENDING are then completed.
"""

from __future__ import annotations

import sys

import django
from django.db import connection, transaction

django.setup()

SQLITE = connection.vendor == "sqlite"
BATCH = 50_000
"""Log entries in one transaction: whoever writes meanwhile waits for no more."""


def series(first: int, last: int) -> str:
    """A table `n` with a row `i` for each number."""
    if SQLITE:
        more = f"SELECT i + 1 FROM n WHERE i < {last - 1}"
        return f"(WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL {more}) SELECT i FROM n) AS n"
    return f"generate_series({first}, {last - 1}) AS n(i)"


def task_id(number: str) -> str:
    return f"printf('task-%06d', {number})" if SQLITE else f"'task-' || lpad(({number})::text, 6, '0')"


def run_id(number: str) -> str:
    return f"printf('%032x', {number})" if SQLITE else f"lpad(to_hex({number}), 32, '0')::uuid"


def moment(seconds: str) -> str:
    """So many seconds after a moment of the past."""
    stamp = f"1700000000 + {seconds}"
    return (
        f"strftime('%Y-%m-%d %H:%M:%S.000000', {stamp}, 'unixepoch')" if SQLITE else f"to_timestamp({stamp})"
    )


def execute(*statements: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def add_tasks(first: int, last: int) -> None:
    execute(f"""
        INSERT INTO tasks_task (
            id, type, priority, description, files_pattern, timeout_ms, working_dir, agent, model,
            max_retries, status, progress, retry_count, failure_reason, error, created_at
        )
        SELECT
            {task_id("i")}, CASE i % 2 WHEN 0 THEN 'testing' ELSE 'refactor' END, i % 3, 'one of many', '',
            NULL, '/project', 'opencode', '', 0, 'pending', 0, 0, '', '', {moment("i * 60")}
        FROM {series(first, last)}
    """)


def complete(first: int, last: int) -> None:
    these = f"UPDATE tasks_task SET %s WHERE id >= 'task-{first:06d}' AND id < 'task-{last:06d}'"
    at = moment("i * 60")
    execute(
        these % "status = 'running', started_at = created_at",
        these % "status = 'completed', progress = 100, completed_at = created_at",
        f"""
        INSERT INTO tasks_run (
            id, task_id, number, host, agent, model, state, stop_reason, outcome, failure_reason,
            failure_detail, lease_expires_at, created_at, started_at, ended_at, agent_identity, session_id,
            tokens_input, tokens_output, tokens_reasoning, tokens_cache_read, tokens_cache_write, cost,
            stdout_offset, stderr_offset, report
        )
        SELECT
            {run_id("i")}, {task_id("i")}, 1, 'h', 'opencode', '', 'ended', '', 'completed', '', '',
            {at}, {at}, {at}, {at}, '', '', 0, 0, 0, 0, 0, 0, 0, 0, '{{}}'
        FROM {series(first, last)}
        """,
    )


def add_lines(first: int, last: int, each: int) -> None:
    task = f"(i / {each})"
    execute(f"""
        INSERT INTO monitoring_logentry (time, level, message, agent, run_id, details)
        SELECT
            {moment("i")}, CASE i % 50 WHEN 0 THEN 'error' WHEN 1 THEN 'warn' ELSE 'info' END,
            'a line of an agent that works for hours', {task_id(task)}, {run_id(task)}, '{{}}'
        FROM {series(first, last)}
    """)


def main() -> None:
    first, last, lines, pending = map(int, sys.argv[1:])
    add_tasks(first, last)
    complete(max(0, first - pending), last - pending)
    for begin in range(first * lines, last * lines, BATCH):
        add_lines(begin, min(begin + BATCH, last * lines), lines)
    if not SQLITE:
        # As autovacuum would in time; SQLite's ANALYZE is run by nobody.
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")


if __name__ == "__main__":
    main()
