"""The admin of tasks, runs, hosts and the agents seen: a door, the lifecycle decides."""

from tasks.admin import hosts, processes, runs, schedules, tasks

__all__ = ["hosts", "processes", "runs", "schedules", "tasks"]
