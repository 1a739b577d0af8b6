"""What agents write: how late it is heard of, and how much of it can be stored."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import orjson

from tests.benchmarks.report import Result, figure, percentiles
from tests.benchmarks.served import finished, served, start
from tests.benchmarks.wire import Broken, Wire, listen, wires

RUNS, PER_SECOND, SUBSCRIBERS = 10, 100, 20
WINDOWS, WINDOW = 6, 2.0
"""Spans of so many seconds, each with its percentiles."""
ROUNDS, LINES = 5, 60_000
PAGE = 1000


def log_latency() -> Iterator[Result]:
    """From the agent's write to a subscriber, ten runs at a thousand lines a second in all."""
    lines = int(PER_SECOND * WINDOW * WINDOWS)
    with (
        served("SQLite", OPENCODE_MAX_CONCURRENT_AGENTS=str(RUNS)) as server,
        wires(server.port, SUBSCRIBERS + 1) as (asking, *subscribers),
    ):
        for wire in subscribers:
            wire.ask({"type": "subscribe_to_updates", "channels": ["log_entries"]})
        for run in range(RUNS):
            start(asking, f"run-{run}", lines=lines, per_second=PER_SECOND)
        heard = _hear(subscribers, lines)
    begin = min(written for written, _ in heard)
    spans: list[list[float]] = [[] for _ in range(WINDOWS)]
    for written, late in heard:
        spans[min(int((written - begin) / WINDOW), WINDOWS - 1)].append(late * 1000)
    yield from percentiles(
        "a log line, from the agent's write to a subscriber",
        spans,
        {50: 60, 99: 150},
        note=f"{RUNS} runs × {PER_SECOND} lines/s, {SUBSCRIBERS} subscribers, {WINDOWS} × {WINDOW:g} s",
    )


def _hear(subscribers: list[Wire], lines: int) -> list[tuple[float, float]]:
    """When each line was written and how late it was heard; each subscriber must hear all, in order."""
    due = [dict.fromkeys((f"run-{run}" for run in range(RUNS)), 0) for _ in subscribers]
    heard: list[tuple[float, float]] = []

    def take(subscriber: int, texts: list[bytes]) -> bool:
        now = time.time()
        for text in texts:
            log = orjson.loads(text)["log"]
            if not log["message"].startswith("line "):
                continue
            _, number, written = log["message"].split()
            if int(number) != due[subscriber][log["agent"]]:
                raise Broken(f"{due[subscriber][log['agent']]} was due and {log} was heard")
            due[subscriber][log["agent"]] += 1
            heard.append((float(written), now - float(written)))
        return len(heard) < lines * RUNS * len(subscribers)

    listen(subscribers, take)
    return heard


def ingestion() -> Iterator[Result]:
    """Lines of one agent that writes as quickly as it can, from its start until its run has ended."""
    for name in ("SQLite", "PostgreSQL"):
        with served(name) as server, wires(server.port, 1) as (wire,):
            wire.ask({"type": "subscribe_to_updates", "channels": ["task_status"]})
            rates = [_ingest(wire, f"run-{turn}") for turn in range(ROUNDS)]
        yield Result(
            what=f"log ingestion, exactly once, {name}",
            sign="≥",
            target=20_000,
            unit="lines/s",
            samples=rates,
            note=f"{ROUNDS} × {figure(LINES)} lines, read back and compared",
        )


def _ingest(wire: Wire, task_id: str) -> float:
    start(wire, task_id, lines=LINES)
    run = finished(wire, task_id)
    stored = list(_stored(wire, task_id))
    if stored != list(range(LINES)):
        raise Broken(f"{len(stored)} of {LINES} lines are stored, or not in order")
    began, ended = (datetime.fromisoformat(run[name]) for name in ("started_at", "ended_at"))
    return LINES / (ended - began).total_seconds()


def _stored(wire: Wire, task_id: str) -> Iterator[int]:
    pages: list[list[dict[str, str]]] = []
    before: dict[str, int] = {}
    while True:
        request = {"type": "request_log_entries", "limit": PAGE, "filter": {"agent": task_id}, **before}
        entries = wire.ask(request)["data"]["entries"]
        if not entries:
            break
        pages.append(entries)
        before = {"before_id": entries[0]["id"]}
    for page in reversed(pages):
        for entry in page:
            if entry["message"].startswith("line "):
                yield int(entry["message"].split()[1])
