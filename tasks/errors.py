"""The error tree of the task domain: each error carries the facts, the doors give them their shape."""

from __future__ import annotations

from typing import Any


class TaskError(Exception):
    """Something about a task cannot be done; `facts` are what a client may see."""

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts


class TaskNotFound(TaskError):
    """No task has this id."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"Task with ID '{task_id}' not found", task_id=task_id)


class TaskAlreadyExists(TaskError):
    """A task with this id exists; ids are never used twice."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"Task with ID '{task_id}' already exists", task_id=task_id)


class InvalidField(TaskError):
    """A value that the domain refuses; `field` is the dotted path that the client sent."""

    def __init__(self, message: str, *, field: str, value: Any, expected: Any) -> None:
        super().__init__(message, field=field, value=value, expected=expected)


class OutsideAllowedRoots(TaskError):
    """The working directory is not inside a directory that tasks may work in."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"Working directory '{path}' is outside the directories that tasks may work in",
            field="task.working_dir",
            value=path,
        )


class WorkingDirMissing(TaskError):
    """The working directory does not exist or is not a directory that can be entered."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"Working directory '{path}': {problem}", field="task.working_dir", value=path)


class SpoolNotWritable(TaskError):
    """The directory that runs write to takes no more writes, and there is no other host to run a task."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"No run can be started: the server's spool directory cannot be written ({problem}). "
            "Mend that on the server, then send it again"
        )


class LostRace(Exception):
    """A conditional write found that another writer had been there first; nothing was written."""
