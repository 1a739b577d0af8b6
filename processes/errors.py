"""Why a process was not ended."""

from __future__ import annotations


class ControlError(Exception):
    """A process was not ended; the message tells a person why."""


class NoSuchProcess(ControlError):
    """There is no process with this pid, or it has ended meanwhile."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"Process with ID {pid} not found")


class NotAllowed(ControlError):
    """The process is none that may be ended."""

    def __init__(self, pid: int, reason: str) -> None:
        super().__init__(f"Process {pid} may not be ended: {reason}")


class KillFailed(ControlError):
    """The signal could not be sent, or the process is still there after the grace."""

    def __init__(self, pid: int, reason: str) -> None:
        super().__init__(f"Failed to kill process {pid}: {reason}")
