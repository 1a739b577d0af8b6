"""What is asked again and again, of a database that has grown a hundredfold."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

from tests.benchmarks.report import Result
from tests.benchmarks.served import python, served, start
from tests.benchmarks.wire import Broken, Wire, wires
from tests.support.server import Server

SMALL, LARGE = 1_000, 100_000
"""Tasks, each with a run and `LINES`."""
LINES = 50
ROUNDS, TRIPS = 5, 40
PENDING = 500
"""Of them wait, in the small database as in the large one."""
REQUESTS: dict[str, list[dict[str, Any]]] = {
    "list_tasks": [
        {"type": "list_tasks"},
        {"type": "list_tasks", "filter": {"status": "completed"}, "offset": 100},
        {"type": "list_tasks", "filter": {"type": "testing", "priority": "high"}},
    ],
    "get_task_status": [
        {"type": "get_task_status", "task_id": "task-000100"},
        {"type": "get_task_status", "task_id": "task-000900"},
    ],
    "request_log_entries": [
        {"type": "request_log_entries"},
        {"type": "request_log_entries", "filter": {"level": "error"}},
        {"type": "request_log_entries", "filter": {"agent": "task-000100"}},
    ],
    "request_status": [{"type": "request_status"}],
}


def volume() -> Iterator[Result]:
    """Round trips with the small and with the large database, on the same server."""
    for name in ("SQLite", "PostgreSQL"):
        with served(name, OPENCODE_MAX_CONCURRENT_AGENTS="1") as server:
            _take_the_slot(server)
            _fill(server, 0, SMALL)
            small = _measure(server, SMALL)
            _fill(server, SMALL, LARGE)
            large = _measure(server, LARGE)
        for kind in REQUESTS:
            yield Result(
                what=f"`{kind}`, {name}, {LARGE} tasks and {LARGE * LINES} log rows against a hundredth",
                sign="≤",
                target=1.5,
                samples=[much / little for little, much in zip(small[kind], large[kind], strict=True)],
                note=f"{statistics.median(small[kind]):.1f} and {statistics.median(large[kind]):.1f} ms",
            )


def _take_the_slot(server: Server) -> None:
    """Nothing that waits is to be begun while the clock runs."""
    with wires(server.port, 1) as (wire,):
        wire.ask({"type": "subscribe_to_updates", "channels": ["task_status"]})
        start(wire, "busy", lines=100_000, per_second=1)
        wire.until(lambda message: message.get("new_status") == "running")


def _fill(server: Server, first: int, last: int) -> None:
    python(server, "-m", "tests.benchmarks.fill", *map(str, (first, last, LINES, PENDING)))


def _measure(server: Server, tasks: int) -> dict[str, list[float]]:
    """Milliseconds of a round trip by kind of request, of each round the mean over that kind's requests."""
    with wires(server.port, 1) as (wire,):
        return _trips(wire, tasks)


def _trips(wire: Wire, tasks: int) -> dict[str, list[float]]:
    told = wire.ask({"type": "list_tasks"}), wire.ask({"type": "request_log_entries"})["data"]
    if told[0]["total_count"] != tasks + 1 or not 0 <= told[1]["total_count"] - tasks * LINES < 10_000:
        raise Broken(f"{tasks} tasks were told as {told[0]['total_count']}, {told[1]['total_count']} lines")
    rounds: dict[str, list[float]] = {kind: [] for kind in REQUESTS}
    for _ in range(ROUNDS):
        for kind, requests in REQUESTS.items():
            took = []
            for request in requests * TRIPS:
                began = time.perf_counter()
                reply = wire.ask(request)
                took.append((time.perf_counter() - began) * 1000)
                found = reply.get("data", reply)
                if not any(found.get(name) for name in ("tasks", "task", "entries")):
                    raise Broken(f"nothing was found by {request}")
            rounds[kind].append(statistics.fmean(took))
    return rounds
