"""Requests and replies about tasks."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from monitoring.events import Message, Timestamp
from opencode_site.ws.schemas.basic import Input, Reply, Request, Whole
from tasks.models import (
    FILES_PATTERN_RULE,
    MAX_DESCRIPTION,
    MAX_FILES_PATTERN,
    MAX_RETRIES,
    MAX_TIMEOUT_MS,
    MIN_TIMEOUT_MS,
    TASK_ID,
    TASK_ID_RULE,
    TASK_TYPE,
    TASK_TYPE_RULE,
    Priority,
    Run,
    Status,
    Task,
    is_relative_glob,
)
from tasks.services import NewTask

PriorityName = Literal["low", "medium", "high"]
StatusName = Literal["pending", "running", "completed", "failed", "cancelled"]
MAX_DEPENDENCIES = 1000


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("text without NUL characters")
    return text


def _task_id(value: Any) -> Any:
    if isinstance(value, str) and not re.match(TASK_ID, value):
        raise ValueError(TASK_ID_RULE)
    return value


def _task_type(value: Any) -> Any:
    if isinstance(value, str) and (len(value) > 64 or not re.match(TASK_TYPE, value)):
        raise ValueError(TASK_TYPE_RULE)
    return value


def _relative_glob(pattern: str) -> str:
    if not is_relative_glob(pattern):
        raise ValueError(FILES_PATTERN_RULE)
    return pattern


Text = Annotated[str, AfterValidator(_no_nul)]
TaskId = Annotated[str, BeforeValidator(_task_id), Field(description=TASK_ID_RULE, examples=["new_task_123"])]
TaskRef = Annotated[Text, Field(max_length=128, description="The id of a task.", examples=["task_456"])]


class TaskData(Input):
    """A task as a client asks for it."""

    id: TaskId
    type: Annotated[str, BeforeValidator(_task_type), Field(description=TASK_TYPE_RULE, examples=["testing"])]
    priority: PriorityName
    description: Text = Field(min_length=1, max_length=MAX_DESCRIPTION, examples=["Run integration tests"])
    files_pattern: Annotated[Text, AfterValidator(_relative_glob)] = Field(
        default="", max_length=MAX_FILES_PATTERN, examples=["**/*.test.js"]
    )
    dependencies: list[TaskRef] = Field(
        default=[], max_length=MAX_DEPENDENCIES, description="Tasks that must be completed before."
    )
    timeout: Whole | None = Field(
        default=None, ge=MIN_TIMEOUT_MS, le=MAX_TIMEOUT_MS, description="Milliseconds.", examples=[3600000]
    )
    working_dir: Text | None = Field(
        default=None, min_length=1, max_length=4096, description="Inside an allowed root (extension)."
    )
    agent: Text | None = Field(
        default=None, min_length=1, max_length=64, description="Name of a configured agent (extension)."
    )
    model: Text = Field(default="", max_length=255, description="provider/model (extension)")
    max_retries: Whole = Field(
        default=0,
        ge=0,
        le=MAX_RETRIES,
        description="Times that a failure worth it is tried again by itself (extension).",
    )


class StartTask(Request):
    """Queues a task."""

    type: Literal["start_task"]
    task: TaskData


class CancelTask(Request):
    """Cancels a pending or running task."""

    type: Literal["cancel_task"]
    task_id: TaskRef


class RetryTask(Request):
    """Queues a failed or cancelled task again."""

    type: Literal["retry_task"]
    task_id: TaskRef


class GetTaskStatus(Request):
    """Asks for everything about one task."""

    type: Literal["get_task_status"]
    task_id: TaskRef


class TaskFilter(Input):
    """Only tasks that match all of these."""

    status: StatusName | None = None
    type: Text | None = Field(default=None, max_length=64)
    priority: PriorityName | None = None


class ListTasks(Request):
    """Asks for a page of tasks, newest first."""

    type: Literal["list_tasks"]
    filter: TaskFilter = TaskFilter()
    limit: Whole = Field(default=50, ge=1, le=1000)
    offset: Whole = Field(default=0, ge=0, le=2**31)


class TaskRecord(Message):
    """A task as replies show it."""

    id: str
    type: str
    priority: PriorityName
    description: str
    status: Status
    progress: int
    created_at: Timestamp
    started_at: Timestamp | None = None
    completed_at: Timestamp | None = None
    files_pattern: str | None = None
    timeout: int | None = None
    error: str | None = None
    failure_reason: str | None = None
    working_dir: str
    agent: str
    model: str | None = None
    retry_count: int
    max_retries: int


class RunRecord(Message):
    """One attempt at a task."""

    id: str
    number: int
    host: str
    agent: str
    model: str | None = None
    state: str
    outcome: str | None = None
    failure_reason: str | None = None
    error: str | None = None
    created_at: Timestamp
    started_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    supervisor_pid: int | None = None
    agent_pid: int | None = None
    exit_code: int | None = None
    exit_signal: int | None = None
    session_id: str | None = None
    tokens_input: int
    tokens_output: int
    tokens_reasoning: int
    tokens_cache_read: int
    tokens_cache_write: int
    cost: float = Field(description="US dollars.")
    peak_memory: int | None = Field(default=None, description="Bytes.")
    cpu_seconds: float | None = None


class TaskDetail(TaskRecord):
    """Everything about a task."""

    runtime_status: str
    runtime_detail: str
    dependencies: list[str]
    runs: list[RunRecord]


class TaskStarted(Reply):
    """The task is queued."""

    type: Literal["task_started"] = "task_started"
    task_id: str
    task: TaskRecord


class TaskCancelled(Reply):
    """The task is cancelled; `status` is `running` if its agent had not ended within the grace."""

    type: Literal["task_cancelled"] = "task_cancelled"
    task_id: str
    status: Status
    runtime_status: str
    timestamp: Timestamp


class TaskRetried(Reply):
    """The task is queued again."""

    type: Literal["task_retried"] = "task_retried"
    task_id: str
    retry_count: int
    timestamp: Timestamp


class TaskStatusReply(Reply):
    """Everything about a task."""

    type: Literal["task_status"] = "task_status"
    task: TaskDetail


class TaskList(Reply):
    """A page of tasks."""

    type: Literal["task_list"] = "task_list"
    tasks: list[TaskRecord]
    total_count: int = Field(description="All tasks.")
    filtered_count: int = Field(description="All that match the filter.")


def new_task(data: TaskData) -> NewTask:
    """The task as the domain takes it."""
    return NewTask(
        id=data.id,
        type=data.type,
        priority=Priority[data.priority.upper()],
        description=data.description,
        files_pattern=data.files_pattern,
        timeout_ms=data.timeout,
        working_dir=data.working_dir,
        agent=data.agent,
        model=data.model,
        max_retries=data.max_retries,
        dependencies=tuple(data.dependencies),
    )


def task_fields(task: Task) -> dict[str, Any]:
    """The fields of a `TaskRecord`; they are right by type, so that nothing is validated again."""
    return {
        "id": task.pk,
        "type": task.type,
        "priority": task.get_priority_display(),
        "description": task.description,
        "status": Status(task.status),
        "progress": task.progress,
        "created_at": task.created_at,
        "started_at": task.started_at,
        "completed_at": task.completed_at,
        "files_pattern": task.files_pattern or None,
        "timeout": task.timeout_ms,
        "error": task.error or None,
        "failure_reason": task.failure_reason or None,
        "working_dir": task.working_dir,
        "agent": task.agent,
        "model": task.model or None,
        "retry_count": task.retry_count,
        "max_retries": task.max_retries,
    }


def task_record(task: Task) -> TaskRecord:
    """The task as replies show it."""
    return TaskRecord.model_construct(**task_fields(task))


def run_record(run: Run) -> RunRecord:
    """The run as replies show it."""
    same = ("number", "host", "agent", "state", "created_at", "started_at", "ended_at", "supervisor_pid")
    spent = ("tokens_input", "tokens_output", "tokens_reasoning", "tokens_cache_read", "tokens_cache_write")
    end = ("agent_pid", "exit_code", "exit_signal", "peak_memory", "cpu_seconds")
    return RunRecord.model_construct(
        id=str(run.pk),
        model=run.model or None,
        outcome=run.outcome or None,
        failure_reason=run.failure_reason or None,
        error=run.failure_detail or None,
        session_id=run.session_id or None,
        cost=float(run.cost),
        **{name: getattr(run, name) for name in (*same, *spent, *end)},
    )
