"""Answers to requests about tasks."""

from __future__ import annotations

from django.conf import settings

from monitoring.events import Channel
from opencode_site.ws.connection import Connection
from opencode_site.ws.database import in_database
from opencode_site.ws.errors import InvalidValue
from opencode_site.ws.schemas.basic import now
from opencode_site.ws.schemas.tasks import (
    CancelTask,
    GetTaskStatus,
    ListTasks,
    RetryTask,
    StartTask,
    TaskCancelled,
    TaskDetail,
    TaskList,
    TaskRetried,
    TaskStarted,
    TaskStatusReply,
    new_task,
    run_record,
    task_fields,
    task_record,
)
from tasks import selectors, services
from tasks.models import FINISHED, Priority, Status, Task

CANCEL_PATIENCE = 5.0
"""Seconds beyond the kill grace that a reply to `cancel_task` waits for the run to end."""
FINISHED_NAMES = frozenset(status.value for status in FINISHED)


async def start_task(connection: Connection, request: StartTask) -> TaskStarted:
    """Queues a task."""
    await connection.server.limit_task_creation()
    task = await connection.submissions.submit(new_task(request.task))
    return TaskStarted.model_construct(task_id=task.pk, task=task_record(task))


async def cancel_task(connection: Connection, request: CancelTask) -> TaskCancelled | None:
    """Replies when the task is cancelled, which for a running one takes until its processes are gone."""
    reply = await in_database(_cancel, request.task_id)
    if reply.status != Status.RUNNING:
        return reply
    connection.reply_later(request, _when_cancelled(connection, request.task_id))
    return None


async def _when_cancelled(connection: Connection, task_id: str) -> TaskCancelled:
    ended = await connection.watch(
        Channel.TASK_STATUS,
        lambda facts: facts.get("task_id") == task_id and facts.get("status") in FINISHED_NAMES,
    )
    try:
        # It may have ended before anybody watched.
        reply = await in_database(_cancelled, task_id)
        if reply.status == Status.RUNNING:
            await ended.wait(settings.KILL_GRACE + CANCEL_PATIENCE)
            reply = await in_database(_cancelled, task_id)
    finally:
        await connection.unwatch(ended)
    return reply


def _cancel(task_id: str) -> TaskCancelled:
    return _reply_about(services.cancel(task_id))


def _cancelled(task_id: str) -> TaskCancelled:
    """Raises `InvalidValue` if the run was quicker than its cancellation."""
    task = selectors.get_task(task_id)
    if task.status in (Status.COMPLETED, Status.FAILED):
        raise InvalidValue(
            f"Task '{task_id}' is {task.status} and cannot be cancelled",
            field="status",
            value=task.status,
            expected=["pending", "running"],
        )
    return _reply_about(task)


def _reply_about(task: Task) -> TaskCancelled:
    return TaskCancelled.model_construct(
        task_id=task.pk,
        status=Status(task.status),
        runtime_status=selectors.runtime(task)[0],
        timestamp=now(),
    )


async def retry_task(connection: Connection, request: RetryTask) -> TaskRetried:
    """Queues a failed or cancelled task again."""
    task = await in_database(services.retry, request.task_id)
    return TaskRetried.model_construct(task_id=task.pk, retry_count=task.retry_count, timestamp=now())


async def get_task_status(connection: Connection, request: GetTaskStatus) -> TaskStatusReply:
    """Everything about one task."""
    return TaskStatusReply.model_construct(task=await in_database(_detail, request.task_id))


def _detail(task_id: str) -> TaskDetail:
    task = selectors.get_task(task_id)
    word, why = selectors.runtime(task)
    return TaskDetail.model_construct(
        **task_fields(task),
        runtime_status=word,
        runtime_detail=why,
        dependencies=selectors.dependency_ids(task),
        runs=[run_record(run) for run in selectors.run_summaries(task)],
    )


async def list_tasks(connection: Connection, request: ListTasks) -> TaskList:
    """A page of tasks, newest first."""
    wanted = request.filter
    page = await in_database(
        selectors.list_tasks,
        status=wanted.status,
        type=wanted.type,
        priority=Priority[wanted.priority.upper()] if wanted.priority else None,
        limit=request.limit,
        offset=request.offset,
    )
    return TaskList.model_construct(
        tasks=[task_record(task) for task in page.tasks],
        total_count=page.total_count,
        filtered_count=page.filtered_count,
    )
