"""Requests and replies about what happened."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from monitoring.events import LogRecord, Message, SystemResources, Timestamp
from monitoring.times import LONGEST_RANGE
from opencode_site.ws.schemas.basic import Input, Reply, Request, Whole
from opencode_site.ws.schemas.processes import AgentProcess
from opencode_site.ws.schemas.tasks import TaskRecord, TaskRef
from tasks.events import AgentRecord

LevelName = Literal["debug", "info", "warn", "error"]


def _moment(value: Any) -> Any:
    """ISO 8601 as a client writes it; without an offset it is UTC, as everywhere in the protocol."""
    rule = "a time in ISO 8601, like 2024-01-15T10:30:00Z"
    if not isinstance(value, str):
        raise ValueError(rule)
    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(rule) from None


Moment = Annotated[datetime, BeforeValidator(_moment)]


class TimeRange(Input):
    """Both ends are included; either may be left out."""

    start: Moment | None = None
    end: Moment | None = None


class LogFilter(Input):
    """Only entries that match all of these."""

    level: LevelName | None = None
    agent: TaskRef | None = None
    time_range: TimeRange = TimeRange()


class RequestLogEntries(Request):
    """Asks for the newest entries that match."""

    type: Literal["request_log_entries"]
    limit: Whole = Field(default=50, ge=1, le=1000)
    filter: LogFilter = LogFilter()
    before_id: Whole | None = Field(
        default=None,
        ge=1,
        le=2**63 - 1,
        description="Only entries with a smaller id: the page before (extension).",
    )


class LogPageData(Message):
    """Entries, oldest first."""

    entries: list[LogRecord]
    total_count: int = Field(description="All entries.")
    filtered_count: int = Field(description="All that match the filter.")
    timestamp: Timestamp


class LogEntries(Reply):
    """A page of the log."""

    type: Literal["log_entries"] = "log_entries"
    data: LogPageData


RANGE_RULE = f"digits and one of s, m, h, d, like 15m or 1h; {LONGEST_RANGE.days} days at most"
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _range(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,8}[smhd]", value):
        raise ValueError(RANGE_RULE)
    seconds = int(value[:-1]) * UNITS[value[-1]]
    if not 0 < seconds <= LONGEST_RANGE.total_seconds():
        raise ValueError(RANGE_RULE)
    return timedelta(seconds=seconds)


Range = Annotated[
    timedelta,
    BeforeValidator(_range),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+[smhd]$", "examples": ["1h"]}),
]


class RequestStatus(Request):
    """Asks for everything that a dashboard shows first."""

    type: Literal["request_status"]


class RequestSystemResources(Request):
    """Asks for the newest sample of the web server's host."""

    type: Literal["request_system_resources"]


class RequestPerformanceMetrics(Request):
    """Asks how quickly the server has answered, over all its processes."""

    type: Literal["request_performance_metrics"]
    time_range: Range = timedelta(hours=1)


class FullStatusData(Message):
    """Agents, tasks, load and agent processes."""

    agents: list[AgentRecord]
    tasks: list[TaskRecord]
    system_resources: SystemResources
    claude_processes: list[AgentProcess]


class FullStatus(Reply):
    """Everything that a dashboard shows first."""

    type: Literal["full_status"] = "full_status"
    data: FullStatusData


class NetworkStats(Message):
    """Since the host started, all its network interfaces together."""

    bytes_sent: int
    bytes_recv: int
    packets_sent: int
    packets_recv: int


class DetailedResources(SystemResources):
    """The load of a host, with its network."""

    network_stats: NetworkStats


class SystemResourcesReply(Reply):
    """The newest sample of the web server's host."""

    type: Literal["system_resources"] = "system_resources"
    data: DetailedResources


class ResponseTimes(Message):
    """Milliseconds; the percentiles are right to within 2.5 %."""

    average: float
    min: float
    max: float
    p95: float
    p99: float


class Throughput(Message):
    """Over the whole range."""

    requests_per_second: float
    bytes_per_second: int


class ErrorRates(Message):
    """Errors that were answered."""

    total_errors: int
    error_rate_percent: float
    errors_by_type: dict[str, int] = Field(description="By the error's code.")


class ResourceUsage(Message):
    """Means of equal parts of the range, 60 at most; those without a sample are left out."""

    cpu_trend: list[float]
    memory_trend: list[float]
    timestamps: list[str] = Field(
        description="HH:MM in UTC; with the day where the range is longer than one."
    )


class PerformanceData(Message):
    """How the server has done."""

    response_times: ResponseTimes
    throughput: Throughput
    error_rates: ErrorRates
    resource_usage: ResourceUsage
    timestamp: Timestamp


class PerformanceMetrics(Reply):
    """How the server has done."""

    type: Literal["performance_metrics"] = "performance_metrics"
    data: PerformanceData
