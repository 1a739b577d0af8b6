"""From a task that is asked for to its agent's process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import orjson

from tests.benchmarks.report import Result, figure, percentile, percentiles
from tests.benchmarks.served import finished, served, start
from tests.benchmarks.wire import Broken, Wire, listen, masked, wires

ROUNDS = 5
TRIPS = 50
CLIENTS, SECONDS = 20, 3.0
"""Connections that submit at once, each one task at a time, and for how long."""
AGENTS = 12
"""Agents that are started, one after the other, in one round."""


def start_task() -> Iterator[Result]:
    """Durable round trips, and how many of them a second, while the one agent's slot is taken."""
    for name, limit in (("SQLite", 8), ("PostgreSQL", 6)):
        with (
            served(name, OPENCODE_MAX_CONCURRENT_AGENTS="1") as server,
            wires(server.port, CLIENTS) as opened,
        ):
            start(opened[0], "busy", lines=100_000, per_second=1)
            trips = [_trips(opened[0], f"t{turn}") for turn in range(ROUNDS)]
            rates = [_submit(opened, f"s{turn}") for turn in range(ROUNDS)]
            submitted = 1 + ROUNDS * TRIPS + sum(count for count, _ in rates)
            stored = opened[0].ask({"type": "list_tasks", "limit": 1})["total_count"]
            if stored != submitted:
                raise Broken(f"{submitted} tasks were acknowledged, {stored} are stored")
        tail = figure(percentile([trip for each in trips for trip in each], 99))
        yield Result(
            what=f"`start_task` round trip, {name}, p50",
            sign="<",
            target=limit,
            unit="ms",
            samples=[percentile(each, 50) for each in trips],
            note=f"{ROUNDS} × {TRIPS}, one connection; p99 {tail} ms",
        )
        yield Result(
            what=f"`start_task`, {name}, sustained",
            sign="≥",
            target=500,
            unit="tasks/s",
            samples=[count / seconds for count, seconds in rates],
            note=f"{CLIENTS} connections, {SECONDS:g} s each round; every task is there",
        )


def _task(task_id: str) -> bytes:
    task = {"id": task_id, "type": "testing", "priority": "low", "description": "wait for your turn"}
    return masked(orjson.dumps({"type": "start_task", "task": task}))


def _check(text: bytes, task_id: str) -> None:
    reply = orjson.loads(text)
    if reply["type"] != "task_started" or reply["task_id"] != task_id:
        raise Broken(f"the task {task_id} was answered with {text!r}")


def _trips(wire: Wire, prefix: str) -> list[float]:
    """Milliseconds of each round trip."""
    took = []
    for number in range(TRIPS):
        request = _task(f"{prefix}-{number}")
        began = time.perf_counter()
        wire.socket.sendall(request)
        (text,) = wire.read()
        took.append((time.perf_counter() - began) * 1000)
        _check(text, f"{prefix}-{number}")
    return took


def _submit(opened: list[Wire], prefix: str) -> tuple[int, float]:
    """Tasks that were acknowledged, and the seconds that it took."""
    numbers = [0] * len(opened)
    waiting = len(opened)
    began = time.perf_counter()

    def heard(client: int, texts: list[bytes]) -> bool:
        nonlocal waiting
        for text in texts:
            _check(text, f"{prefix}-{client}-{numbers[client]}")
            numbers[client] += 1
            if time.perf_counter() - began < SECONDS:
                opened[client].socket.sendall(_task(f"{prefix}-{client}-{numbers[client]}"))
            else:
                waiting -= 1
        return waiting > 0

    for client, wire in enumerate(opened):
        wire.socket.sendall(_task(f"{prefix}-{client}-0"))
    listen(opened, heard)
    return sum(numbers), time.perf_counter() - began


def agent_start() -> Iterator[Result]:
    """From the reply to `start_task` until the agent's process exists, on a host with nothing else to do."""
    with served("SQLite") as server, wires(server.port, 1) as (wire,):
        wire.ask({"type": "subscribe_to_updates", "channels": ["task_status"]})
        rounds = [[_start(wire, f"a{turn}-{n}") for n in range(AGENTS)] for turn in range(ROUNDS)]
    yield from percentiles(
        "`start_task` reply → agent process",
        rounds,
        {50: 150, 99: 500},
        note=f"{ROUNDS} × {AGENTS} agents, one after the other",
    )


def _start(wire: Wire, task_id: str) -> float:
    start(wire, task_id, lines=1)
    replied = time.time()
    run = finished(wire, task_id)
    return (datetime.fromisoformat(run["started_at"]).timestamp() - replied) * 1000
