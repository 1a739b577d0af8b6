"""Tasks, what they wait for, their runs (attempts), the history of their states, and the hosts."""

from __future__ import annotations

import re
import uuid

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule

from monitoring.row_counts import RowCount
from tasks.failures import FailureReason

TASK_ID = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}\Z"
TASK_ID_RULE = "1 to 128 letters, digits or . _ : -, beginning with a letter or digit"
SCHEDULE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"
TASK_TYPE = r"^[a-z0-9]+(?:[_-][a-z0-9]+)*\Z"
TASK_TYPE_RULE = "a lowercase slug of at most 64 characters, like testing or code-review"
FILES_PATTERN_RULE = "a glob relative to the working directory, without .."
MIN_TIMEOUT_MS = 1_000
MAX_TIMEOUT_MS = 7 * 24 * 3600 * 1000
MAX_DESCRIPTION = 100_000
MAX_FILES_PATTERN = 1_000
MAX_RETRIES = 20


class Status(models.TextChoices):
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINISHED = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)
# The database itself refuses every other change of a status: migration 0002 makes triggers of this table.
TRANSITIONS = {
    Status.PENDING: (Status.RUNNING, Status.CANCELLED),
    Status.RUNNING: (Status.COMPLETED, Status.FAILED, Status.CANCELLED),
    Status.COMPLETED: (),
    Status.FAILED: (Status.PENDING,),
    Status.CANCELLED: (Status.PENDING,),
}


class Priority(models.IntegerChoices):
    """Numbers so that the database orders by them; the protocol speaks the names."""

    LOW = 0, "low"
    MEDIUM = 1, "medium"
    HIGH = 2, "high"


def _failure_reasons() -> list[tuple[str, str]]:
    return [(reason.value, reason.value.replace("_", " ")) for reason in FailureReason]


def is_relative_glob(pattern: str) -> bool:
    """Whether a pattern names nothing outside of the directory that it is used in."""
    absolute = pattern.startswith(("/", "~", "\\")) or re.match(r"[A-Za-z]:", pattern)
    return not absolute and ".." not in re.split(r"[/\\]", pattern)


def validate_files_pattern(pattern: str) -> None:
    """Raises `ValidationError` for what the protocol refuses, too."""
    if not is_relative_glob(pattern):
        raise ValidationError(f"Expected {FILES_PATTERN_RULE}.")


class Work(models.Model):
    """What an agent is to do, and how."""

    type = models.CharField(
        max_length=64, validators=[RegexValidator(TASK_TYPE, f"Expected {TASK_TYPE_RULE}.")]
    )
    priority = models.SmallIntegerField(choices=Priority, default=Priority.MEDIUM)
    description = models.TextField(max_length=MAX_DESCRIPTION)
    files_pattern = models.CharField(
        max_length=MAX_FILES_PATTERN, blank=True, validators=[validate_files_pattern]
    )
    timeout_ms = models.BigIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(MIN_TIMEOUT_MS), MaxValueValidator(MAX_TIMEOUT_MS)],
        help_text="Milliseconds that one run may take; empty means 7 days.",
    )
    working_dir = models.CharField(max_length=4096, help_text="Absolute, symbolic links resolved.")
    agent = models.CharField(max_length=64, default="opencode")
    model = models.CharField(
        max_length=255, blank=True, help_text="Empty means the host's or agent's default."
    )
    max_retries = models.PositiveSmallIntegerField(default=0, validators=[MaxValueValidator(MAX_RETRIES)])

    class Meta:
        abstract = True


class Overlap(models.TextChoices):
    """What becomes of a schedule's turn while the task of an earlier one is unfinished."""

    SKIP = "skip", "skip it"
    QUEUE = "queue", "queue it until the earlier one has ended"


class Schedule(Work):
    """Work that is to be done again and again: each turn submits a task. Changed by `tasks.schedules`."""

    name = models.CharField(max_length=64, unique=True, validators=[RegexValidator(SCHEDULE_NAME)])
    enabled = models.BooleanField(default=True)
    crontab = models.ForeignKey(
        CrontabSchedule, on_delete=models.PROTECT, null=True, blank=True, help_text="In its own time zone."
    )
    interval = models.ForeignKey(IntervalSchedule, on_delete=models.PROTECT, null=True, blank=True)
    overlap = models.CharField(max_length=8, choices=Overlap, default=Overlap.SKIP)
    next_at = models.DateTimeField(
        null=True, editable=False, help_text="The next turn; empty while not enabled."
    )

    class Meta:
        ordering = ["name"]
        indexes = [models.Index(fields=["next_at"], name="schedule_next", condition=Q(enabled=True))]
        constraints = [
            models.CheckConstraint(
                condition=Q(crontab__isnull=True, interval__isnull=False)
                | Q(crontab__isnull=False, interval__isnull=True),
                name="schedule_crontab_or_interval",
                violation_error_message="Choose a crontab or an interval, and only one of them.",
            )
        ]

    def __str__(self) -> str:
        return self.name


class Task(Work):
    """A piece of work for an agent. `tasks.services` is the only writer of its status."""

    id = models.CharField(
        primary_key=True, max_length=128, validators=[RegexValidator(TASK_ID, f"Expected {TASK_ID_RULE}.")]
    )
    schedule = models.ForeignKey(
        Schedule, on_delete=models.SET_NULL, null=True, editable=False, related_name="tasks"
    )
    dependencies = models.ManyToManyField(
        "self", through="Dependency", symmetrical=False, related_name="dependents"
    )

    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING, editable=False)
    progress = models.PositiveSmallIntegerField(default=0, editable=False)
    retry_count = models.PositiveIntegerField(default=0, editable=False)
    failure_reason = models.CharField(max_length=32, blank=True, choices=_failure_reasons, editable=False)
    error = models.TextField(blank=True, editable=False)
    not_before = models.DateTimeField(
        null=True, editable=False, help_text="An automatic retry waits until then."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    completed_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="task_newest"),
            models.Index(fields=["status", "-created_at", "-id"], name="task_status_newest"),
            models.Index(fields=["type", "-created_at", "-id"], name="task_type_newest"),
            models.Index(fields=["priority", "-created_at", "-id"], name="task_priority_newest"),
            models.Index(
                F("priority").desc(),
                "created_at",
                "id",
                name="task_queue",
                condition=Q(status=Status.PENDING),
            ),
            models.Index(
                fields=["-completed_at"], name="task_finished", condition=Q(completed_at__isnull=False)
            ),
            models.Index(fields=["status", "-completed_at"], name="task_status_finished"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=Status.values), name="task_status_known"),
            models.CheckConstraint(condition=Q(priority__in=Priority.values), name="task_priority_known"),
            models.CheckConstraint(condition=Q(progress__lte=100), name="task_progress_percent"),
            models.CheckConstraint(
                condition=Q(timeout_ms__isnull=True) | Q(timeout_ms__range=(MIN_TIMEOUT_MS, MAX_TIMEOUT_MS)),
                name="task_timeout_range",
            ),
            models.CheckConstraint(
                condition=Q(status__in=FINISHED, completed_at__isnull=False)
                | Q(status__in=(Status.PENDING, Status.RUNNING), completed_at__isnull=True),
                name="task_completed_at_when_finished",
            ),
        ]

    def __str__(self) -> str:
        return self.id


class TaskCount(RowCount):
    """How many tasks there are of a status, a type and a priority."""

    status = models.CharField(max_length=16)
    type = models.CharField(max_length=64)
    priority = models.SmallIntegerField()


class Dependency(models.Model):
    """`task` starts only when `needs` is completed."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="needs")
    needs = models.ForeignKey(Task, on_delete=models.PROTECT, related_name="needed_by")
    position = models.PositiveSmallIntegerField(default=0, help_text="The order that the client gave.")

    class Meta:
        ordering = ["position"]
        verbose_name_plural = "dependencies"
        constraints = [
            models.UniqueConstraint(fields=["task", "needs"], name="dependency_once"),
            models.CheckConstraint(condition=~Q(task=F("needs")), name="dependency_not_on_itself"),
        ]

    def __str__(self) -> str:
        return f"{self.task_id} needs {self.needs_id}"


class Host(models.Model):
    """A machine that runs agents, as its worker reported itself."""

    name = models.CharField(primary_key=True, max_length=255)
    slots = models.PositiveIntegerField(help_text="Agents that it runs at once.")
    pid = models.PositiveIntegerField(help_text="Process of the worker that reported last.")
    started_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    agents = models.JSONField(default=dict, help_text="Agent name to the executable that was found, or null.")
    paused_because = models.TextField(blank=True, help_text="Why it starts no new runs; empty while it does.")

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class RunState(models.TextChoices):
    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"


class StopReason(models.TextChoices):
    """Why the server asked a run's supervisor to end it."""

    CANCELLED = "cancelled"
    KILLED = "killed"
    FINISHED = "finished"
    NO_OUTPUT = "no_output"


class Run(models.Model):
    """One attempt at a task: its id fences every write about it, and is the name of its spool directory."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="runs")
    number = models.PositiveIntegerField(help_text="1 for the first attempt.")
    host = models.CharField(max_length=255)
    agent = models.CharField(max_length=64)
    model = models.CharField(max_length=255, blank=True)
    state = models.CharField(max_length=16, choices=RunState, default=RunState.STARTING)
    stop_reason = models.CharField(max_length=16, choices=StopReason, blank=True)
    outcome = models.CharField(max_length=16, choices=[(s.value, s.label) for s in FINISHED], blank=True)
    failure_reason = models.CharField(max_length=32, blank=True, choices=_failure_reasons)
    failure_detail = models.TextField(blank=True)
    lease_expires_at = models.DateTimeField(help_text="After this another host may declare the run lost.")
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, help_text="When the agent's process existed.")
    last_output_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    supervisor_pid = models.PositiveIntegerField(null=True)
    agent_pid = models.PositiveIntegerField(null=True)
    agent_identity = models.CharField(
        max_length=128,
        blank=True,
        help_text="Boot id and start time: tells a process from one with a reused pid.",
    )
    exit_code = models.IntegerField(null=True)
    exit_signal = models.PositiveSmallIntegerField(null=True)
    session_id = models.CharField(max_length=128, blank=True)
    tokens_input = models.BigIntegerField(default=0)
    tokens_output = models.BigIntegerField(default=0)
    tokens_reasoning = models.BigIntegerField(default=0)
    tokens_cache_read = models.BigIntegerField(default=0)
    tokens_cache_write = models.BigIntegerField(default=0)
    cost = models.DecimalField(max_digits=14, decimal_places=6, default=0, help_text="US dollars.")
    memory_usage = models.BigIntegerField(null=True, help_text="Bytes that all its processes use just now.")
    cpu_percent = models.FloatField(null=True, help_text="Of one core, over the last sampling interval.")
    measured_at = models.DateTimeField(null=True, help_text="When these two were measured.")
    peak_memory = models.BigIntegerField(null=True, help_text="Bytes; the largest single process of the run.")
    cpu_seconds = models.FloatField(null=True, help_text="User and system, all processes of the run.")

    stdout_offset = models.BigIntegerField(default=0, help_text="Bytes of the spool that are stored as rows.")
    stderr_offset = models.BigIntegerField(default=0)
    report = models.JSONField(default=dict, help_text="What the stream has told up to the offsets.")

    class Meta:
        ordering = ["-created_at"]
        permissions = [("stop_run", "Can stop agents: cancel running tasks, end processes")]
        indexes = [
            models.Index(fields=["host", "state"], name="run_in_flight", condition=~Q(state=RunState.ENDED)),
            models.Index(fields=["-created_at"], name="run_newest"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["task", "number"], name="run_number_once"),
            models.UniqueConstraint(
                fields=["task"], condition=~Q(state=RunState.ENDED), name="run_one_in_flight_per_task"
            ),
            models.CheckConstraint(
                condition=Q(state=RunState.ENDED, ended_at__isnull=False)
                | (~Q(state=RunState.ENDED) & Q(ended_at__isnull=True, outcome="")),
                name="run_ended_at_when_ended",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.task_id} #{self.number}"


class Transition(models.Model):
    """A change of a task's status or progress: its history, and the stream of its update messages."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="transitions")
    run = models.ForeignKey(Run, on_delete=models.CASCADE, null=True, related_name="transitions")
    old_status = models.CharField(max_length=16, choices=Status, blank=True, help_text="Empty: submitted.")
    new_status = models.CharField(max_length=16, choices=Status)
    progress = models.PositiveSmallIntegerField()
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.task_id}: {self.old_status or 'new'} → {self.new_status}"


class AgentState(models.Model):
    """The newest update about an agent; a newer one replaces it, under an id greater than all others."""

    agent = models.CharField(max_length=300, unique=True)
    record = models.JSONField()
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.agent


class TurnOutcome(models.TextChoices):
    SUBMITTED = "submitted"
    SKIPPED = "skipped"
    REFUSED = "refused"


class Turn(models.Model):
    """A turn of a schedule, and what came of it."""

    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="turns")
    planned_at = models.DateTimeField()
    at = models.DateTimeField(default=timezone.now)
    outcome = models.CharField(max_length=16, choices=TurnOutcome)
    detail = models.TextField(blank=True)
    task_id = models.CharField(max_length=128, blank=True)
    asked_by = models.CharField(max_length=255, blank=True, help_text="Empty: its time had come.")

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["schedule", "-id"], name="turn_newest")]

    def __str__(self) -> str:
        return f"{self.schedule_id} {self.planned_at:%Y-%m-%d %H:%M:%S}: {self.outcome}"
