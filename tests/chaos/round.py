"""One round of chaos: work is submitted, things are killed at random, and then every promise is checked.

Everything that happens is drawn from the round's seed. What is checked is read from outside: the rows of
the database, the spool files, what the agents wrote down when they started, and the kernel's processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.chaos.subscriber import Subscriber, cursors
from tests.support.client import Client
from tests.support.server import Server

TASKS = 8
FAULTS = 5
FINISHED = ("completed", "failed", "cancelled")
KINDS = ("web", "worker", "valkey", "serve", "supervisor", "agent", "cancel", "reboot")
WEIGHTS = (4, 5, 3, 2, 3, 3, 3, 1)
MAY_PASS = ("provider_error", "lost")
"""Reasons after which a task is tried again by itself."""
PATIENCE = 90.0
"""Seconds for everything to come to its end. None of the promises is about this number."""


@dataclass(frozen=True)
class Order:
    """What one task's agent is to do."""

    task_id: str
    lines: int
    exit: int
    marker: Path
    description: str
    max_retries: int
    fail_first: int
    """Starts that end with an error that may pass."""
    needs: str
    """The task that it waits for, empty for none."""

    def natural(self, start: int) -> tuple[str, str, int]:
        """Outcome, reason and exit code of its so-manieth start, from 0, if nobody disturbs it."""
        if start < self.fail_first:
            return "failed", "provider_error", 1
        return ("completed", "", 0) if self.exit == 0 else ("failed", "agent_error", self.exit)


@dataclass(frozen=True)
class Row:
    """A run as the database has it."""

    id: str
    task_id: str
    number: int
    state: str
    outcome: str
    reason: str
    exit_code: int | None
    supervisor_pid: int | None
    agent_pid: int | None


class Round:
    """Against a server that may have had rounds before."""

    def __init__(self, server: Server, directory: Path, seed: int) -> None:
        self.server = server
        self.seed = seed
        self._random = random.Random(seed)
        self._directory = directory
        self._orders = [self._order(number) for number in range(TASKS)]
        self.hit: dict[str, set[str]] = {order.task_id: set() for order in self._orders}
        """For each task, what was done to its runs while they were alive."""
        self.faults: list[str] = []

    def _order(self, number: int) -> Order:
        draw = self._random
        task_id = f"chaos-{self.seed}-{number}"
        marker = self._directory / task_id
        lines, code = draw.randrange(50, 600), draw.choice((0, 0, 0, 3, 7))
        fail_first = draw.choice((0, 0, 1, 2))
        wanted = {
            "lines": lines,
            "pause": draw.choice((0.0, 0.02, 0.08)),
            "children": draw.randrange(3),
            "exit": code,
            "marker": str(marker),
            "ignore_term": draw.random() < 0.2,
            "fail_first": fail_first,
        }
        return Order(
            task_id,
            lines,
            code,
            marker,
            json.dumps(wanted),
            max_retries=draw.choice((0, 1, 2)),
            fail_first=fail_first,
            needs=f"chaos-{self.seed}-{draw.randrange(number)}" if number and draw.random() < 0.3 else "",
        )

    # --- What happens -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Raises `AssertionError` with the seed and the faults when a promise was broken."""
        subscriber = Subscriber(self.server.url)
        subscriber.start()
        try:
            self._submit()
            for _ in range(self._random.randrange(1, FAULTS + 1)):
                time.sleep(self._random.uniform(0.0, 1.5))
                self._fault(self._random.choices(KINDS, WEIGHTS)[0])
            self._until_finished()
            self._check(subscriber)
        except AssertionError as problem:
            problem.add_note(f"seed {self.seed}, faults: {', '.join(self.faults)}")
            raise
        finally:
            subscriber.stop()
            subscriber.join(10)

    def _submit(self) -> None:
        with self.server.connect() as client:
            for order in self._orders:
                needs = [order.needs] if order.needs else []
                client.start(
                    order.task_id,
                    description=order.description,
                    max_retries=order.max_retries,
                    dependencies=needs,
                )

    def _fault(self, kind: str) -> None:
        self.faults.append(kind)
        if kind == "cancel":
            self._cancel(self._random.choice(self._orders).task_id)
        elif kind in ("supervisor", "agent"):
            if alive := [row for row in self.rows() if row.state != "ended" and row.agent_pid]:
                self._hit(self._random.choice(alive), kind)
        elif kind in ("serve", "reboot"):
            self._kill_serve(everything=kind == "reboot")
        else:
            self._kill(self.server.child(kind), self.server.process.pid)

    def _cancel(self, task_id: str) -> None:
        """Asks as a client does that does not stay for the answer."""
        self.hit[task_id].add("cancel")
        with contextlib.suppress(OSError), Client(self.server.url) as client:
            client.send({"type": "cancel_task", "task_id": task_id})
            client.request({"type": "ping"})

    def _hit(self, row: Row, kind: str) -> None:
        supervisor = row.supervisor_pid or 0
        self.hit[row.task_id].add(kind)
        if kind == "agent":
            self._kill(row.agent_pid or 0, supervisor)
        elif row.id in " ".join(_command(supervisor)):
            self._kill(supervisor, None)

    def _kill_serve(self, *, everything: bool) -> None:
        children = [self.server.child(name) for name in ("web", "worker", "valkey")]
        os.kill(self.server.process.pid, signal.SIGKILL)
        self.server.process.wait()
        if everything:
            for pid in children:
                self._kill(pid, None, ours=str(self.server.data_dir))
            for row in self.rows():
                if row.state != "ended":
                    self._hit(row, "agent")
                    self._hit(row, "supervisor")
        self.server.start("--stop-agents")

    def _kill(self, pid: int, parent: int | None, *, ours: str = "") -> None:
        """SIGKILL to a process that is certainly this server's; none if it is not there any more."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if parent is None or process.ppid() == parent:
                if ours and ours not in " ".join((*_command(pid), process.cwd())):
                    return
                process.kill()

    # --- What is looked at --------------------------------------------------------------------------------

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        path = self.server.data_dir / "db.sqlite3"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(statement, values).fetchall()

    def rows(self) -> list[Row]:
        """The runs of this round."""
        return [
            Row(str(found[0]), *found[1:])
            for found in self.query(
                "SELECT id, task_id, number, state, outcome, failure_reason, exit_code, supervisor_pid,"
                " agent_pid FROM tasks_run WHERE task_id LIKE ? ORDER BY number",
                f"chaos-{self.seed}-%",
            )
        ]

    def _until_finished(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while open_tasks := self._unfinished():
            assert time.monotonic() < deadline, f"these did not come to an end: {open_tasks}"
            self._let_time_pass()
            time.sleep(0.05)

    def _statuses(self) -> dict[str, str]:
        return dict(self.query("SELECT id, status FROM tasks_task WHERE id LIKE ?", f"chaos-{self.seed}-%"))

    def _unfinished(self) -> list[str]:
        """The tasks that have not come to their end; one whose needs have failed waits for ever."""
        statuses = self._statuses()
        dead: set[str] = set()
        for order in self._orders:  # a task needs an earlier one
            needed = statuses.get(order.needs)
            blocked = order.needs in dead or needed in ("failed", "cancelled")
            if statuses[order.task_id] == "pending" and blocked:
                dead.add(order.task_id)
        return [name for name, status in statuses.items() if status not in FINISHED and name not in dead]

    def _let_time_pass(self) -> None:
        """Makes every automatic retry due."""
        later = "not_before > datetime('now', '+1 second')"
        if self.query(f"SELECT 1 FROM tasks_task WHERE {later}"):
            path = self.server.data_dir / "db.sqlite3"
            with closing(sqlite3.connect(path, timeout=30)) as connection, connection:
                connection.execute(f"UPDATE tasks_task SET not_before = datetime('now') WHERE {later}")

    # --- The promises -------------------------------------------------------------------------------------

    def _check(self, subscriber: Subscriber) -> None:
        runs = self.rows()
        assert all(run.state == "ended" for run in runs), runs
        for order in self._orders:
            self._check_task(order, [run for run in runs if run.task_id == order.task_id])
        self._check_processes()
        self._check_history()
        self._check_subscriber(subscriber)

    def _check_task(self, order: Order, runs: list[Row]) -> None:
        status = self._statuses()[order.task_id]
        started = [line.split()[1] for line in _lines(order.marker)]
        assert len(started) == len(set(started)), f"{order.task_id}: an agent was started twice for one run"
        assert set(started) <= {_dashed(run.id) for run in runs}, f"{order.task_id}: a start without a run"
        assert [run.number for run in runs] == list(range(1, len(runs) + 1))
        for run in runs:
            self._check_run(order, run, started)
        for run in runs[:-1]:
            assert (run.outcome, run.reason in MAY_PASS) == ("failed", True), f"it was tried again: {run}"
        self._check_number_of_runs(order, status, runs)
        self._check_needs(order, runs)

    def _check_run(self, order: Order, run: Row, started: list[str]) -> None:
        known = _dashed(run.id) in started
        natural = order.natural(started.index(_dashed(run.id))) if known else None
        told = (run.outcome, run.reason if run.outcome == "failed" else "")
        allowed = {natural[:2]} if natural else set()
        hit = self.hit[order.task_id]
        if "cancel" in hit:
            allowed.add(("cancelled", ""))
        if "agent" in hit:
            allowed |= {("failed", "agent_crashed"), ("failed", "lost")}
        if "supervisor" in hit:
            allowed.add(("failed", "lost"))
        assert told in allowed, (run, allowed)
        undisturbed = natural is not None and natural[:2] == told
        self._check_lines(order, run, complete=undisturbed)
        if undisturbed and natural is not None:
            # A supervisor that is killed after its agent's last word takes the exit code with it.
            unknown = {None} if "supervisor" in hit else set()
            assert run.exit_code in {natural[2], *unknown}

    def _check_number_of_runs(self, order: Order, status: str, runs: list[Row]) -> None:
        """It has run as often as it may and had to; who cancels it may come before its first or next run."""
        if not runs:
            blocked = order.needs and self._statuses()[order.needs] != "completed"
            assert status == "cancelled" or (status == "pending" and blocked), (order, status)
            return
        last = runs[-1]
        by_hand = "cancel" in self.hit[order.task_id] and status == "cancelled"
        assert status == last.outcome or by_hand, (status, runs)
        tries = order.max_retries + 1
        assert len(runs) <= tries
        if status == "failed" and last.reason in MAY_PASS:
            assert len(runs) == tries, f"{order.task_id} was not tried again: {runs}"

    def _check_needs(self, order: Order, runs: list[Row]) -> None:
        if order.needs and runs:
            ((completed, begun),) = self.query(
                "SELECT needed.completed_at, min(run.created_at) FROM tasks_task needed, tasks_run run"
                " WHERE needed.id = ? AND needed.status = 'completed' AND run.task_id = ?",
                *(order.needs, order.task_id),
            )
            assert completed <= begun, f"{order.task_id} did not wait for {order.needs}"

    def _check_lines(self, order: Order, run: Row, *, complete: bool) -> None:
        stored = [
            message
            for (message,) in self.query(
                "SELECT message FROM monitoring_logentry WHERE run_id = ? ORDER BY id", run.id
            )
            if message.startswith("line ")
        ]
        spool = self.server.data_dir / "runs" / _dashed(run.id) / "stdout"
        written = [json.loads(line) for line in _whole_lines(spool)]
        texts = [event["part"]["text"] for event in written if event["type"] == "text"]
        assert stored == texts, f"{order.task_id}: the database has other lines than the agent wrote"
        if complete:
            assert stored == [f"line {number}" for number in range(order.lines)]

    def _check_processes(self) -> None:
        """Agents and their children wrote down who they are when they began."""
        for order in self._orders:
            for line in _lines(order.marker):
                for pid in map(int, line.split()[:1] + line.split()[2:]):
                    assert str(order.marker.parent) not in " ".join(_command(pid)), f"{pid} is alive"
                    assert "agent.py" not in " ".join(_command(pid)), f"{pid} of {order.task_id} is alive"

    def _check_history(self) -> None:
        for order in self._orders:
            changes = self.query(
                "SELECT old_status, new_status FROM tasks_transition WHERE task_id = ? ORDER BY id",
                order.task_id,
            )
            path = [new for old, new in changes if old != new]
            steps = [(old, new) for old, new in changes if old != new]
            assert [old for old, _ in steps] == ["", *path[:-1]], path
            assert path[-1] == self._statuses()[order.task_id]
            runs = [row for row in self.rows() if row.task_id == order.task_id]
            assert path.count("running") == len(runs), path

    def _check_subscriber(self, subscriber: Subscriber) -> None:
        stored = cursors(self.query)
        heads = {channel: ids[-1] for channel, ids in stored.items() if ids}
        assert subscriber.wait_until(heads, patience=30), "the subscriber did not come up to date"
        for channel, ids in stored.items():
            began = subscriber.began[channel]
            expected = [number for number in ids if began < number <= heads[channel]]
            heard = [number for number in subscriber.heard[channel] if number <= heads[channel]]
            assert heard == expected, f"{channel}: {_difference(expected, heard)}"


def _command(pid: int) -> list[str]:
    try:
        return psutil.Process(pid).cmdline() if pid else []
    except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
        return []


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _whole_lines(path: Path) -> Iterator[str]:
    content = path.read_text() if path.exists() else ""
    yield from content[: content.rfind("\n") + 1].splitlines()


def _dashed(run_id: str) -> str:
    """Django keeps a UUID in SQLite without its dashes."""
    parts = (run_id[:8], run_id[8:12], run_id[12:16], run_id[16:20], run_id[20:])
    return run_id if "-" in run_id else "-".join(parts)


def _difference(expected: list[int], heard: list[int]) -> str:
    missing = sorted(set(expected) - set(heard))[:10]
    double = sorted({number for number in heard if heard.count(number) > 1})[:10] if heard else []
    return f"missing {missing}, double {double}, {len(heard)} of {len(expected)} heard"
