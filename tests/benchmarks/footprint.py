"""What the server costs while it has little to do."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.benchmarks.report import Result
from tests.benchmarks.served import AGENT, served, start
from tests.benchmarks.wire import wires
from tests.support.server import Server
from tests.support.stack import Stack

ROUNDS, IDLE = 5, 6.0
"""Spans of so many seconds in which nobody asks for anything."""
PROCESSES, INTERVAL = 500, 5.0
PARTS = ("valkey", "web", "worker")

# In a process of its own, as in the worker; the first looks learn what the later ones need not ask again.
REPEAT = """
import time
from {module} import {name}
look = {look}
for _ in range(3): look(); time.sleep(6)
for _ in range(7):
    began = time.process_time()
    look()
    print(time.process_time() - began)
    time.sleep(1)
"""
OBSERVE = REPEAT.format(module="tasks.observation", name="observe", look="observe")
SCAN = REPEAT.format(module="processes.discovery", name="Scanner", look="Scanner().scan")


def scan() -> Iterator[Result]:
    """A look at five hundred processes more, and a whole sample with it, stored and told: by CPU seconds."""
    with Stack() as stack:
        sleepers = [subprocess.Popen(["sleep", "600"]) for _ in range(PROCESSES)]
        try:
            looks = [float(line) for line in stack.python(SCAN).split()]
            costs = [float(line) for line in stack.python(OBSERVE).split()]
        finally:
            for sleeper in sleepers:
                sleeper.kill()
            for sleeper in sleepers:
                sleeper.wait(10)
    yield Result(
        what=f"a scan of {PROCESSES} unchanged processes",
        sign="<",
        target=15,
        unit="ms of CPU",
        samples=[1000 * look for look in looks],
    )
    yield Result(
        what=f"sampling and scan, {PROCESSES} processes, every {INTERVAL:g} s",
        sign="<",
        target=2,
        unit="% of a core",
        samples=[100 * cost / INTERVAL for cost in costs],
        note="CPU of one sample / 5 s",
    )


def idle() -> Iterator[Result]:
    """The stack with nobody connected, and how long `serve` takes until it answers."""
    with tempfile.TemporaryDirectory(prefix="oc-bench-") as directory:
        server = Server(Path(directory), OPENCODE_BIN=str(AGENT))
        ready = []
        # The first start makes the database.
        for turn in range(ROUNDS + 1):
            began = time.monotonic()
            server.start("--stop-agents")
            if turn:
                ready.append(time.monotonic() - began)
            if turn < ROUNDS:
                server.stop()
        try:
            parts = [psutil.Process(server.child(name)) for name in PARTS]
            time.sleep(IDLE)
            memory, cpu = [], []
            for _ in range(ROUNDS):
                before = sum(sum(part.cpu_times()[:2]) for part in parts)
                time.sleep(IDLE)
                after = sum(sum(part.cpu_times()[:2]) for part in parts)
                cpu.append(100 * (after - before) / IDLE)
                memory.append(sum(part.memory_info().rss for part in parts) / 1e6)
            each = ", ".join(
                f"{name} {part.memory_info().rss / 1e6:.0f}" for name, part in zip(PARTS, parts, strict=True)
            )
        finally:
            server.stop()
    yield Result(
        what="idle stack, resident", sign="<", target=300, unit="MB", samples=memory, note=f"{each} MB"
    )
    yield Result(
        what="idle stack, CPU",
        sign="<",
        target=2,
        unit="% of a core",
        samples=cpu,
        note=f"over {ROUNDS} × {IDLE:g} s",
    )
    yield Result(
        what="`serve` until it answers", sign="<", target=4, unit="s", samples=ready, note="database exists"
    )


def supervisor() -> Iterator[Result]:
    """The process that stands beside each run."""
    with served("SQLite", OPENCODE_MAX_CONCURRENT_AGENTS=str(ROUNDS)) as server:
        with wires(server.port, 1) as (wire,):
            wire.ask({"type": "subscribe_to_updates", "channels": ["log_entries"]})
            for turn in range(ROUNDS):
                start(wire, f"run-{turn}", lines=1000, per_second=1)
                # Its first line: the supervisor has done all that it does before it waits.
                wire.until(
                    lambda message, agent=f"run-{turn}": (  # type: ignore[misc]
                        message["type"] == "log_entry" and message["log"]["agent"] == agent
                    )
                )
            tasks = [
                wire.ask({"type": "get_task_status", "task_id": f"run-{turn}"}) for turn in range(ROUNDS)
            ]
        pids = [task["task"]["runs"][0]["supervisor_pid"] for task in tasks]
        sizes = [psutil.Process(pid).memory_info().rss / 1e6 for pid in pids]
    yield Result(
        what="supervisor of a run, resident", sign="<", target=15, unit="MB", samples=sizes, note="five runs"
    )
