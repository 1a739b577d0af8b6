"""What is asked of a week."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.benchmarks.report import Result
from tests.benchmarks.wire import Broken, wires
from tests.support.stack import Stack

ROUNDS = 15
A_WEEK = """
from datetime import timedelta
from random import Random
import uuid
from django.utils import timezone
from monitoring.models import RequestPeriod, ResourceSample
from monitoring.requests import LEVELS, SHORTEST, Count, _as_row, _period

chance, now = Random(1), timezone.now()
rows, process = [], uuid.uuid4()
ages = [timedelta(), *(kept for _, kept in LEVELS)]
ages[-1] = timedelta(days=7)
for (seconds, _), young, old in zip(LEVELS, ages, ages[1:]):
    start, end = int((now - old).timestamp()), int((now - young).timestamp())
    for second in range(_period(start, seconds), end, seconds):
        count = Count()
        for _ in range(30):
            count.times.add(chance.lognormvariate(1, 1))
            count.bytes += 200
        rows.append(_as_row(process if seconds == SHORTEST else None, second, seconds, count))
RequestPeriod.objects.bulk_create(rows, batch_size=500)
facts = {
    field.name: 10
    for field in ResourceSample._meta.fields
    if field.get_internal_type() in ("FloatField", "BigIntegerField", "PositiveIntegerField")
}
every = timedelta(seconds=5)
samples = (
    ResourceSample(host="h", at=now - number * every, **facts) for number in range(7 * 24 * 3600 // 5)
)
ResourceSample.objects.bulk_create(samples, batch_size=1000)
print(sum(row.count for row in rows))
"""
"""As a week leaves it: samples every 5 s, and answers in periods of the three lengths."""


def week() -> Iterator[Result]:
    """`request_performance_metrics` over 7 days of answers and samples."""
    with Stack() as stack:
        answered = int(stack.python(A_WEEK))
        with wires(stack.ports[0], 1) as (wire,):
            took = []
            for _ in range(ROUNDS + 1):
                began = time.perf_counter()
                reply = wire.ask({"type": "request_performance_metrics", "time_range": "7d"})
                took.append((time.perf_counter() - began) * 1000)
                rate = reply["data"]["throughput"]["requests_per_second"]
                if not 0.9 < rate * 7 * 24 * 3600 / answered < 1.1:
                    raise Broken(f"{answered} answers of a week were told as {rate} a second")
    yield Result(
        what="`request_performance_metrics` over 7 days",
        sign="<",
        target=30,
        unit="ms",
        samples=took[1:],
        note=f"{ROUNDS} round trips; samples every 5 s",
    )
