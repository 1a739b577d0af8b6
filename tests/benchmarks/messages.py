"""Requests and updates over the socket, against servers that do nothing else."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import orjson
import psutil

from tests.benchmarks.bare import PONG
from tests.benchmarks.report import Result, figure
from tests.benchmarks.wire import Broken, Wire, bare_server, listen, masked, wires
from tests.support.stack import Stack

ROUNDS = 7
SECONDS = 1.0
"""Of pings in one round at one server."""
MANY = 50
"""Connections that keep a server busy all the time."""
FRAMES = 1000
"""Prepared requests of one connection, each with a timestamp of its own."""
SUBSCRIBERS, EVENTS = 100, 200
TOLD_SIZE = 60
"""Letters of a log line in the fan-out."""


class Rate(NamedTuple):
    """What one round gave."""

    per_second: float
    cpu_each: float
    """Microseconds of the server's CPU for each."""


def ping() -> Iterator[Result]:
    """Round trips with one connection and with fifty, in turns at the three servers."""
    with Stack() as stack, bare_server("asgi") as asgi, bare_server("websockets") as library:
        ours = stack.ports[0], stack.webs[0].pid
        for connections in (1, MANY):
            rates: dict[str, list[Rate]] = {"ours": [], "asgi": [], "websockets": []}
            servers = {"ours": ours, "asgi": asgi, "websockets": library}
            # With one connection the servers wait most of the time, and what they take then varies more.
            for turn in range(ROUNDS if connections > 1 else 2 * ROUNDS + 1):
                names = list(servers)
                for name in names[turn % 3 :] + names[: turn % 3]:
                    port, pid = servers[name]
                    rates[name].append(
                        _pings(port, pid, connections, _check_ours if name == "ours" else _check_bare)
                    )
            plural = "" if connections == 1 else "s"
            for name, title, target in (
                ("asgi", "a bare ASGI function on Daphne", 0.8),
                ("websockets", "a bare `websockets` server", 1.0),
            ):
                yield Result(
                    what=f"ping, {connections} connection{plural}, against {title}",
                    sign="≥",
                    target=target,
                    samples=_ratios(rates["ours"], rates[name]),
                    note=_rates(rates["ours"], rates[name]),
                )


def uvicorn() -> Iterator[Result]:
    """The same under Uvicorn, against the bare function on Daphne, where the server alone is the limit."""
    ours: list[Rate] = []
    theirs: list[Rate] = []
    with Stack(OPENCODE_WEB_SERVER="uvicorn") as stack, bare_server("asgi") as bare:
        for _ in range(ROUNDS):
            ours.append(_pings(stack.ports[0], stack.webs[0].pid, MANY, _check_ours))
            theirs.append(_pings(*bare, MANY, _check_bare))
    yield Result(
        what=f"under Uvicorn: ping, {MANY} connections, against a bare ASGI function on Daphne",
        sign="≥",
        target=2.0,
        samples=_ratios(ours, theirs),
        note=_rates(ours, theirs),
    )


def _ratios(ours: list[Rate], theirs: list[Rate]) -> list[float]:
    return [mine.per_second / other.per_second for mine, other in zip(ours, theirs, strict=True)]


def _rates(ours: list[Rate], theirs: list[Rate]) -> str:
    sides = []
    for name, rates in (("ours", ours), ("bare", theirs)):
        speed = statistics.median(rate.per_second for rate in rates)
        cpu = statistics.median(rate.cpu_each for rate in rates)
        sides.append(f"{name} {figure(speed)}/s, {cpu:.0f} µs of CPU each")
    return "; ".join(sides)


def _check_ours(text: bytes, number: int) -> None:
    reply = orjson.loads(text)
    if reply.keys() != {"type", "timestamp", "server_time"} or (reply["type"], reply["timestamp"]) != (
        "pong",
        number,
    ):
        raise Broken(f"the ping {number} was answered with {text!r}")


def _check_bare(text: bytes, number: int) -> None:
    if text != PONG.encode():
        raise Broken(f"the ping {number} was answered with {text!r}")


def _pings(port: int, pid: int, connections: int, check: Callable[[bytes, int], None]) -> Rate:
    """One request of each connection is on its way at any time; every reply is checked."""
    requests = [masked(b'{"type":"ping","timestamp":%d}' % number) for number in range(FRAMES)]
    with wires(port, connections, greeted=check is _check_ours) as opened:
        asked = [0] * connections
        process = psutil.Process(pid)
        cpu = sum(process.cpu_times()[:2])
        began = time.perf_counter()

        def heard(number: int, texts: list[bytes]) -> bool:
            for text in texts:
                check(text, asked[number] % FRAMES)
                asked[number] += 1
                opened[number].socket.sendall(requests[asked[number] % FRAMES])
            return time.perf_counter() - began < SECONDS

        for wire in opened:
            wire.socket.sendall(requests[0])
        listen(opened, heard)
        took = time.perf_counter() - began
        used = sum(process.cpu_times()[:2]) - cpu
    answered = sum(asked)
    return Rate(answered / took, used / answered * 1e6)


def fanout() -> Iterator[Result]:
    """Log lines to a hundred subscribers, from the order until the last of them has the last line.

    Ours stores the lines and tells of them over the broker within that time, the bare sender only sends.
    """
    with (
        Stack() as stack,
        bare_server("asgi") as (bare_port, bare_pid),
        wires(stack.ports[0], SUBSCRIBERS) as subscribers,
        wires(bare_port, SUBSCRIBERS, greeted=False) as bare,
    ):
        for wire in subscribers:
            wire.ask({"type": "subscribe_to_updates", "channels": ["log_entries"]})
        ours: list[Rate] = []
        theirs: list[Rate] = []
        record = partial(stack.record, EVENTS, size=TOLD_SIZE)
        for _ in range(ROUNDS + 1):
            rate, text = _fan(subscribers, stack.webs[0].pid, record, _check_lines)
            ours.append(rate)
            order = partial(bare[0].put, {"fan": EVENTS, "text": text})
            rate, _ = _fan(bare, bare_pid, order, _check_count)
            theirs.append(rate)
        # The first round of each opens what is kept: it warms up and does not count.
        del ours[0], theirs[0]
    yield Result(
        what=f"fan-out to {SUBSCRIBERS} subscribers, against a bare ASGI sender on Daphne",
        sign="≥",
        target=0.9,
        samples=_ratios(ours, theirs),
        note=f"frames: {_rates(ours, theirs)}",
    )


def _fan(
    subscribers: list[Wire], pid: int, cause: Callable[[], None], check: Callable[[list[bytes]], None]
) -> tuple[Rate, str]:
    """Every subscriber must get every event, in order and once."""
    texts: list[list[bytes]] = [[] for _ in subscribers]
    left = len(subscribers) * EVENTS
    process = psutil.Process(pid)
    cpu = sum(process.cpu_times()[:2])

    def heard(number: int, more: list[bytes]) -> bool:
        nonlocal left
        texts[number] += more
        left -= len(more)
        return left > 0

    began = time.perf_counter()
    cause()
    listen(subscribers, heard)
    took = time.perf_counter() - began
    used = sum(process.cpu_times()[:2]) - cpu
    for each in texts:
        if each != texts[0]:
            raise Broken("two subscribers were told different things")
    check(texts[0])
    return Rate(len(subscribers) * EVENTS / took, used / len(subscribers) / EVENTS * 1e6), texts[0][
        0
    ].decode()


def _check_lines(texts: list[bytes]) -> None:
    cursors = [int(orjson.loads(text)["cursor"]) for text in texts]
    if cursors != list(range(cursors[0], cursors[0] + EVENTS)):
        raise Broken(f"the updates have a gap or a double: {cursors}")


def _check_count(texts: list[bytes]) -> None:
    if len(texts) != EVENTS or len(set(texts)) != 1:
        raise Broken(f"{len(texts)} frames came instead of {EVENTS}")
