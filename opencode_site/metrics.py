"""`/metrics` for Prometheus.

What the database knows is told alike by every web process, so take `max` over them and never `sum`: tasks,
runs, tokens, cost, the queue, hosts. Requests, errors and connections are a process's own: there, `sum`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from django.db.models import Min, Sum
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from monitoring import requests
from monitoring.histogram import GROWTH, Histogram
from monitoring.models import ResourceSample
from monitoring.selectors import latest_sample
from monitoring.totals import Labels, bucket_names, totals
from opencode_site import __version__
from opencode_site.ws.limits import connections
from tasks import accounts
from tasks.models import Host, Status, TaskCount
from tasks.queue import hosts_alive
from tasks.selectors import agents_in_flight, ready_tasks

REGISTRY = CollectorRegistry()
REQUEST_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds: those of Prometheus's own clients, and smaller ones."""

Known = Mapping[str, dict[Labels, float]]


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Everything in the text format."""
    return HttpResponse(generate_latest(REGISTRY), content_type=CONTENT_TYPE_LATEST)


class Work(Collector):
    """What the database knows."""

    def collect(self) -> Iterator[Metric]:
        known = totals()
        yield _gauge("opencode_info", "The server's version", {(__version__,): 1}, "version")
        yield from _queue()
        yield _counter("opencode_runs", "Ended runs", known.get(accounts.RUNS, {}), "outcome", "reason")
        # What is there from the beginning shows an increase from its first value on.
        tokens = {(kind,): 0.0 for kind in accounts.TOKEN_KINDS} | known.get(accounts.TOKENS, {})
        yield _counter("opencode_tokens", "Tokens of ended runs", tokens, "kind")
        cost = {(): 0.0} | known.get(accounts.COST, {})
        yield _counter("opencode_cost_dollars", "Cost of ended runs, in US dollars", cost)
        for name, what, total, bounds in (
            ("run_duration", "Ended runs, from start to end", accounts.RUN_SECONDS, accounts.RUN_BOUNDS),
            ("queue_wait", "Tasks, from ready to claimed", accounts.QUEUE_SECONDS, accounts.QUEUE_BOUNDS),
        ):
            yield _stored_histogram(f"opencode_{name}_seconds", what, total, bounds, known)
        yield from _hosts()


class Requests(Collector):
    """What this process serves now, and has answered since it began."""

    def collect(self) -> Iterator[Metric]:
        yield _gauge("opencode_connections", "WebSocket connections of this process", {(): connections()})
        errors = CounterMetricFamily("opencode_request_errors", "Errors answered", labels=["type", "code"])
        times = HistogramMetricFamily(
            "opencode_request_duration_seconds", "Requests, from received to answered", labels=["type"]
        )
        for kind, count in sorted(requests.so_far().items()):
            times.add_metric([kind], _cumulated(count.times), sum_value=count.times.total / 1000)
            for code, number in count.errors.items():
                errors.add_metric([kind, code], number)
        yield times
        yield errors


REGISTRY.register(Work())
REGISTRY.register(Requests())


def _queue() -> Iterator[Metric]:
    by_status = dict(TaskCount.objects.values_list("status").annotate(Sum("number")))
    counts: dict[Labels, float] = {(status.value,): by_status.get(status.value, 0) for status in Status}
    yield _gauge("opencode_tasks", "Tasks that are kept", counts, "status")
    oldest = ready_tasks().order_by().aggregate(at=Min("created_at"))["at"]
    waited = (timezone.now() - oldest).total_seconds() if oldest else 0.0
    yield _gauge("opencode_queue_oldest_seconds", "Age of the oldest task that could start", {(): waited})
    running: dict[Labels, float] = {(name,): 0 for name in Host.objects.values_list("name", flat=True)}
    for run in agents_in_flight():
        running[run.host,] = running.get((run.host,), 0) + 1
    yield _gauge("opencode_agents_running", "Runs in flight", running, "host")


def _hosts() -> Iterator[Metric]:
    alive = set(hosts_alive().values_list("name", flat=True))
    hosts = list(Host.objects.order_by("name"))
    up: dict[Labels, float] = {(host.name,): float(host.name in alive) for host in hosts}
    yield _gauge("opencode_host_up", "Whether its worker has reported lately", up, "host")
    paused: dict[Labels, float] = {(host.name,): float(bool(host.paused_because)) for host in hosts}
    yield _gauge("opencode_host_paused", "Whether it starts no new runs", paused, "host")
    slots: dict[Labels, float] = {(host.name,): float(host.slots) for host in hosts}
    yield _gauge("opencode_host_slots", "Agents that it runs at once", slots, "host")
    samples: dict[Labels, ResourceSample] = {
        (host.name,): sample for host in hosts if (sample := latest_sample(host.name))
    }
    for name, what, field in (
        ("cpu_percent", "Use of all its cores in the last interval", "cpu_percent"),
        ("memory_used_bytes", "Memory in use", "memory_used"),
        ("disk_used_bytes", "Of the data directory's file system", "disk_used"),
        ("sample_timestamp_seconds", "When that was measured", "stamp"),
    ):
        values: dict[Labels, float] = {
            host: float(getattr(sample, field)) for host, sample in samples.items()
        }
        yield _gauge(f"opencode_host_{name}", what, values, "host")


def _gauge(name: str, what: str, values: Mapping[Labels, float], *labels: str) -> Metric:
    return _filled(GaugeMetricFamily(name, what, labels=labels), values)


def _counter(name: str, what: str, values: Mapping[Labels, float], *labels: str) -> Metric:
    return _filled(CounterMetricFamily(name, what, labels=labels), values)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[Labels, float]) -> Metric:
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _stored_histogram(name: str, what: str, total: str, bounds: Sequence[float], known: Known) -> Metric:
    counts = known.get(f"{total}_bucket", {})
    names = bucket_names(bounds)
    cumulated = itertools.accumulate(counts.get((bound,), 0.0) for bound in names)
    family = HistogramMetricFamily(name, what)
    buckets = list(zip(names, cumulated, strict=True))
    family.add_metric([], buckets, sum_value=known.get(f"{total}_sum", {}).get((), 0.0))
    return family


def _cumulated(times: Histogram) -> list[tuple[str, float]]:
    """By upper bound in seconds; to within the 5 % of the histogram's own buckets."""
    counts = [
        sum(n for index, n in times.buckets.items() if GROWTH**index <= bound * 1000)
        for bound in REQUEST_BOUNDS
    ]
    return list(zip(bucket_names(REQUEST_BOUNDS), [*counts, times.count], strict=True))
