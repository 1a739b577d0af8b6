"""Every request of the protocol: its type, its schema, its handler, and the scope that it needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from opencode_site.access.scopes import Scope
from opencode_site.ws.connection import Connection
from opencode_site.ws.handlers import basic, monitoring, processes, subscriptions, tasks
from opencode_site.ws.schemas import basic as basic_schemas
from opencode_site.ws.schemas import monitoring as monitoring_schemas
from opencode_site.ws.schemas import processes as process_schemas
from opencode_site.ws.schemas import subscriptions as subscription_schemas
from opencode_site.ws.schemas import tasks as task_schemas
from opencode_site.ws.schemas.basic import Reply, Request


class Route(NamedTuple):
    """What answers one type of message."""

    schema: type[Request]
    handler: Callable[[Connection, Any], Awaitable[Reply | None] | str]
    """Gives the reply's frame at once, or the reply when it has been worked out."""
    needs: Scope


ROUTES: dict[str, Route] = {
    "ping": Route(basic_schemas.Ping, basic.ping, Scope.READ),
    "start_task": Route(task_schemas.StartTask, tasks.start_task, Scope.OPERATE),
    "cancel_task": Route(task_schemas.CancelTask, tasks.cancel_task, Scope.OPERATE),
    "retry_task": Route(task_schemas.RetryTask, tasks.retry_task, Scope.OPERATE),
    "get_task_status": Route(task_schemas.GetTaskStatus, tasks.get_task_status, Scope.READ),
    "list_tasks": Route(task_schemas.ListTasks, tasks.list_tasks, Scope.READ),
    "request_status": Route(monitoring_schemas.RequestStatus, monitoring.request_status, Scope.READ),
    "request_system_resources": Route(
        monitoring_schemas.RequestSystemResources, monitoring.request_system_resources, Scope.READ
    ),
    "request_performance_metrics": Route(
        monitoring_schemas.RequestPerformanceMetrics, monitoring.request_performance_metrics, Scope.READ
    ),
    "request_process_list": Route(
        process_schemas.RequestProcessList, processes.request_process_list, Scope.READ
    ),
    "request_claude_processes": Route(
        process_schemas.RequestClaudeProcesses, processes.request_claude_processes, Scope.READ
    ),
    "kill_process": Route(process_schemas.KillProcess, processes.kill_process, Scope.ADMIN),
    "request_log_entries": Route(
        monitoring_schemas.RequestLogEntries, monitoring.request_log_entries, Scope.READ
    ),
    "subscribe_to_updates": Route(
        subscription_schemas.SubscribeToUpdates, subscriptions.subscribe_to_updates, Scope.READ
    ),
    "unsubscribe_from_updates": Route(
        subscription_schemas.UnsubscribeFromUpdates, subscriptions.unsubscribe_from_updates, Scope.READ
    ),
}

AT_ONCE: dict[str, Callable[[Connection, Any], str]] = {"ping": basic.ping}
"""The handlers that give a frame, by message type."""
