"""What others notice of a client that means no good: their p99 of a ping, against the calm before."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice

from tests.benchmarks.report import Result, figure, percentile
from tests.support.client import Client
from tests.support.raw import RawClient, frame
from tests.support.stack import Stack

ROUNDS = 5
CALM = 2.0
"""Seconds of each calm; an attack lasts as long as it takes."""
PAUSE = 0.002
"""Seconds between two pings of the one who must not notice."""
FLOOD = 40_000
DROPPED = 1000


def hostile() -> Iterator[Result]:
    """A flood of frames of 5 kB, and a thousand connections opened and dropped, with limits lifted."""
    # In a process of its own: beside the one who asks, the attack would hold up the interpreter that is to
    # see how late the answers are.
    with (
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as attacker,
        Stack() as stack,
        stack.connect() as client,
    ):
        attacker.submit(_nothing).result()
        for what, attack in (
            (f"while one client sends {FLOOD} frames of 5 kB", _flood),
            (f"while {DROPPED} connections are opened and dropped", _drop),
        ):
            rounds = [
                (
                    _p99(client, lambda: time.sleep(CALM)),
                    _p99(client, lambda: attacker.submit(attack, stack.ports[0]).result()),  # noqa: B023
                )
                for _ in range(ROUNDS)
            ]
            yield Result(
                what=f"others' p99 of a ping {what}, against calm",
                sign="≤",
                target=2.0,
                samples=[attacked / calm for calm, attacked in rounds],
                note=f"{figure(max(attacked for _, attacked in rounds))} ms at most",
            )


def _p99(client: Client, meanwhile: Callable[[], None]) -> float:
    """Milliseconds."""
    over = threading.Event()
    times: list[float] = []

    def ask() -> None:
        while not over.is_set():
            began = time.perf_counter()
            client.request({"type": "ping"})
            times.append((time.perf_counter() - began) * 1000)
            over.wait(PAUSE)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        meanwhile()
    finally:
        over.set()
        asking.join()
    return percentile(times, 99)


def _nothing() -> None:
    """Returns when the process is there."""


def _flood(port: int) -> None:
    hundred = frame(json.dumps({"type": "ping", "padding": "x" * 5000}).encode()) * 100
    with RawClient(port, receive_buffer=1 << 20) as raw:
        raw.socket.settimeout(60)
        reading = threading.Thread(target=lambda: sum(1 for _ in islice(raw.frames(), FLOOD + 1)))
        reading.start()
        for _ in range(FLOOD // 100):
            raw.socket.sendall(hundred)
        reading.join()


def _drop(port: int) -> None:
    for _ in range(DROPPED):
        with RawClient(port):
            pass
