"""What is asked of a week."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.benchmarks.report import Result
from tests.benchmarks.served import python, served
from tests.benchmarks.wire import Broken, Wire, wires

ROUNDS = 15
A_WEEK = """
from datetime import timedelta
from random import Random
import uuid
from django.utils import timezone
from monitoring import loads
from monitoring.models import RequestPeriod, ResourceSample
from monitoring.requests import LEVELS, SHORTEST, Count, _as_row
from monitoring.times import period_start
from tests.support.samples import sample

chance, now = Random(1), timezone.now()
rows, process = [], uuid.uuid4()
ages = [timedelta(), *(kept for _, kept in LEVELS)]
ages[-1] = timedelta(days=7)
for (seconds, _), young, old in zip(LEVELS, ages, ages[1:]):
    start, end = int((now - old).timestamp()), int((now - young).timestamp())
    for second in range(period_start(start, seconds), end, seconds):
        count = Count()
        for _ in range(30):
            count.times.add(chance.lognormvariate(1, 1))
            count.bytes += 200
        rows.append(_as_row(process if seconds == SHORTEST else None, second, seconds, count))
RequestPeriod.objects.bulk_create(rows, batch_size=500)
moments = (now - number * timedelta(seconds=5) for number in range(7 * 24 * 3600 // 5))
samples = (sample(at, cpu_percent=10, memory_percent=10) for at in moments)
ResourceSample.objects.bulk_create(samples, batch_size=1000)
# As long ago as it is at most when everything goes well.
loads.sum_up(now - timedelta(minutes=10))
print(sum(row.count for row in rows))
"""
"""As a week leaves it: samples every 5 s and their sums, and answers in periods of every length."""


def week() -> Iterator[Result]:
    """`request_performance_metrics` over 7 days of answers and samples."""
    for name in ("SQLite", "PostgreSQL"):
        with served(name) as server:
            answered = int(python(server, "-c", f"import django; django.setup()\n{A_WEEK}"))
            with wires(server.port, 1) as (wire,):
                took = [_ask(wire, answered) for _ in range(ROUNDS + 1)]
        yield Result(
            what=f"`request_performance_metrics` over 7 days, {name}",
            sign="<",
            target=30,
            unit="ms",
            samples=took[1:],
            note=f"{ROUNDS} round trips; samples every 5 s",
        )


def _ask(wire: Wire, answered: int) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    reply = wire.ask({"type": "request_performance_metrics", "time_range": "7d"})
    took = (time.perf_counter() - began) * 1000
    rate = reply["data"]["throughput"]["requests_per_second"]
    if not 0.9 < rate * 7 * 24 * 3600 / answered < 1.1:
        raise Broken(f"{answered} answers of a week were told as {rate} a second")
    # The server takes samples of its own by now: they lie in the last point, or in the last two.
    load = reply["data"]["resource_usage"]["cpu_trend"]
    if len(load) < 50 or set(load[:-2]) != {10}:
        raise Broken(f"a week's load of 10 % was told as {load}")
    return took
