"""One task in a file, and the header of the format."""

from __future__ import annotations

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from opencode_site import __version__
from opencode_site.ws.schemas.basic import now
from opencode_site.ws.schemas.tasks import PriorityName, StatusName, TaskData, new_task
from tasks.failures import FailureReason
from tasks.models import FINISHED, Priority, Status, Task
from tasks.selectors import dependency_ids
from tasks.services import NewTask, Past

FORMAT = "opencode-tasks"
VERSION = 1


class TaskInFile(BaseModel):
    """A task with how far it has come. Names and rules are those of the protocol's `start_task`."""

    model_config = ConfigDict(extra="ignore")

    task: TaskData
    status: StatusName = "pending"
    progress: int = Field(default=0, ge=0, le=100)
    retry_count: int = Field(default=0, ge=0, le=2**31 - 1)
    failure_reason: FailureReason | None = None
    error: str = ""
    created_at: AwareDatetime | None = None
    started_at: AwareDatetime | None = None
    completed_at: AwareDatetime | None = None

    @model_validator(mode="after")
    def _finished_has_times(self) -> TaskInFile:
        if self.status in FINISHED and not (self.created_at and self.completed_at):
            raise ValueError(f"a task that is {self.status} needs created_at and completed_at")
        return self

    @property
    def new(self) -> NewTask:
        """What a service needs to store it."""
        return new_task(self.task)

    @property
    def past(self) -> Past | None:
        """How it ended; None for one that has not."""
        if self.status not in FINISHED or self.created_at is None or self.completed_at is None:
            return None
        return Past(
            status=Status(self.status),
            created_at=self.created_at,
            started_at=self.started_at,
            completed_at=self.completed_at,
            progress=self.progress,
            retry_count=self.retry_count,
            failure_reason=self.failure_reason or "",
            error=self.error,
        )


def parse(record: dict[str, Any]) -> TaskInFile:
    """A record of a file. Raises `ValueError` with one line that says what is wrong with it."""
    given = {name: value for name, value in record.items() if value is not None}
    try:
        return TaskInFile.model_validate({**given, "task": given})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "task")
        raise ValueError(
            f"{place + ': ' if place else ''}{first['msg'].removeprefix('Value error, ')}"
        ) from None


def header() -> dict[str, Any]:
    """What a file begins with."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "server_version": __version__,
        "exported_at": now().isoformat(),
    }


def record_of(task: Task, *, project_dir: str) -> dict[str, Any]:
    """A task as a file holds it. A directory inside the project's is told relative to it: so it can move."""
    priority: PriorityName = Priority(task.priority).label  # type: ignore[assignment]
    values: dict[str, Any] = {
        "id": task.pk,
        "type": task.type,
        "priority": priority,
        "description": task.description,
        "files_pattern": task.files_pattern,
        "dependencies": dependency_ids(task),
        "timeout": task.timeout_ms,
        "working_dir": _portable(task.working_dir, project_dir),
        "agent": task.agent,
        "model": task.model,
        "max_retries": task.max_retries,
        "status": task.status,
        "progress": task.progress,
        "retry_count": task.retry_count,
        "failure_reason": task.failure_reason,
        "error": task.error,
    }
    times = {name: getattr(task, name) for name in ("created_at", "started_at", "completed_at")}
    values |= {name: at.isoformat() if at else None for name, at in times.items()}
    return {name: value for name, value in values.items() if value not in (None, "", [])}


def _portable(path: str, project_dir: str) -> str | None:
    if path == project_dir:
        return None
    return path.removeprefix(f"{project_dir}/")
