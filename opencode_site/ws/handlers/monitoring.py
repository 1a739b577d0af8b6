"""Answers to requests about what happened."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings

from monitoring import requests
from monitoring.loads import trend
from monitoring.logbook import log_record
from monitoring.models import ResourceSample
from monitoring.sampling import system_resources
from monitoring.selectors import latest_sample, log_entries
from monitoring.upkeep import sample_interval
from opencode_site.ws.connection import Connection
from opencode_site.ws.database import in_database
from opencode_site.ws.errors import Code, ProtocolError
from opencode_site.ws.handlers.processes import agent_processes
from opencode_site.ws.schemas.basic import now
from opencode_site.ws.schemas.monitoring import (
    DetailedResources,
    ErrorRates,
    FullStatus,
    FullStatusData,
    LogEntries,
    LogPageData,
    NetworkStats,
    PerformanceData,
    PerformanceMetrics,
    RequestLogEntries,
    RequestPerformanceMetrics,
    RequestStatus,
    RequestSystemResources,
    ResourceUsage,
    ResponseTimes,
    SystemResourcesReply,
    Throughput,
)
from opencode_site.ws.schemas.tasks import task_record
from tasks.events import foreign_agent, run_agent
from tasks.observation import observe
from tasks.selectors import agents_in_flight, foreign_agents, run_state, tasks_of_interest


async def request_log_entries(connection: Connection, request: RequestLogEntries) -> LogEntries:
    """The newest entries that match, oldest first."""
    wanted = request.filter
    page = await in_database(
        log_entries,
        level=wanted.level,
        agent=wanted.agent,
        start=wanted.time_range.start,
        end=wanted.time_range.end,
        limit=request.limit,
        before_id=request.before_id,
    )
    data = LogPageData.model_construct(
        entries=[log_record(entry) for entry in page.entries],
        total_count=page.total_count,
        filtered_count=page.filtered_count,
        timestamp=now(),
    )
    return LogEntries.model_construct(data=data)


async def request_status(connection: Connection, request: RequestStatus) -> FullStatus:
    """Everything that a dashboard shows first."""
    return FullStatus.model_construct(data=await in_database(_full_status))


def _full_status() -> FullStatusData:
    ours = [run_agent(run, status=run_state(run)[0]) for run in agents_in_flight()]
    return FullStatusData.model_construct(
        agents=[*ours, *(foreign_agent(seen) for seen in foreign_agents())],
        tasks=[task_record(task) for task in tasks_of_interest()],
        system_resources=system_resources(_sample()),
        claude_processes=agent_processes(),
    )


async def request_system_resources(
    connection: Connection, request: RequestSystemResources
) -> SystemResourcesReply:
    """The newest sample of this host."""
    sample = await in_database(_sample)
    network = NetworkStats.model_construct(
        bytes_sent=sample.bytes_sent,
        bytes_recv=sample.bytes_recv,
        packets_sent=sample.packets_sent,
        packets_recv=sample.packets_recv,
    )
    load = dict(system_resources(sample))
    return SystemResourcesReply.model_construct(
        data=DetailedResources.model_construct(**load, network_stats=network)
    )


def _sample() -> ResourceSample:
    """A sample that was just taken, or one that is taken now where no worker samples this host."""
    sample = latest_sample(settings.HOSTNAME)
    age = None if sample is None else (now() - sample.at).total_seconds()
    if sample is None or age is None or age > 2 * sample_interval():
        observe()
        sample = latest_sample(settings.HOSTNAME)
    if sample is None:
        raise ProtocolError(
            Code.SERVER_OVERLOAD, "No sample could be taken yet; ask again", retry_after_seconds=1
        )
    return sample


async def request_performance_metrics(
    connection: Connection, request: RequestPerformanceMetrics
) -> PerformanceMetrics:
    """How quickly the server has answered, over all its processes."""
    return PerformanceMetrics.model_construct(data=await in_database(_performance, request.time_range))


def _performance(span: timedelta) -> PerformanceData:
    # The other processes' counts are at most a few seconds old; ours are brought up to date.
    requests.flush()
    end = now()
    begin = end - span
    all_answers = requests.answered(begin)
    times, seconds = all_answers.times, span.total_seconds()
    errors = all_answers.errors.total()
    points = trend(begin, end)
    form = "%H:%M" if span <= timedelta(days=1) else "%m-%d %H:%M"
    return PerformanceData.model_construct(
        response_times=ResponseTimes.model_construct(
            average=round(times.average, 3),
            min=round(times.low, 3) if times.count else 0.0,
            max=round(times.high, 3),
            p95=round(times.percentile(95), 3),
            p99=round(times.percentile(99), 3),
        ),
        throughput=Throughput.model_construct(
            requests_per_second=round(times.count / seconds, 3),
            bytes_per_second=round(all_answers.bytes / seconds),
        ),
        error_rates=ErrorRates.model_construct(
            total_errors=errors,
            error_rate_percent=round(100 * errors / times.count, 2) if times.count else 0.0,
            errors_by_type=dict(all_answers.errors),
        ),
        resource_usage=ResourceUsage.model_construct(
            cpu_trend=[round(point.cpu_percent, 1) for point in points],
            memory_trend=[round(point.memory_percent, 1) for point in points],
            timestamps=[point.at.strftime(form) for point in points],
        ),
        timestamp=end,
    )
