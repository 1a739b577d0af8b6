"""The account of agents seen and of processes ended."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from processes.classification import AgentKind


def _kinds() -> list[tuple[str, str]]:
    return [(kind.value, kind.value.replace("_", " ")) for kind in AgentKind]


class SeenAgent(models.Model):
    """An agent process that a scan of a host has found."""

    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    create_time = models.FloatField(
        help_text="Epoch seconds; with host and pid it tells the process from all others."
    )
    kind = models.CharField(max_length=32, choices=_kinds)
    name = models.CharField(max_length=255)
    cmdline = models.TextField()
    working_dir = models.TextField(blank=True)
    activity = models.CharField(max_length=32, blank=True)
    status = models.CharField(max_length=32)
    memory_rss = models.BigIntegerField(help_text="Bytes, at the last sighting.")
    memory_percent = models.FloatField()
    cpu_percent = models.FloatField(help_text="Of one core, over the interval before the last sighting.")
    task_id = models.CharField(
        max_length=128, blank=True, help_text="The task whose run it belongs to, if it is ours."
    )
    run_id = models.UUIDField(null=True)
    first_seen_at = models.DateTimeField(default=timezone.now)
    last_seen_at = models.DateTimeField(default=timezone.now)
    gone = models.BooleanField(default=False)

    class Meta:
        ordering = ["-last_seen_at"]
        indexes = [models.Index(fields=["host"], name="agent_present", condition=models.Q(gone=False))]
        constraints = [
            models.UniqueConstraint(fields=["host", "pid", "create_time"], name="agent_seen_once"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pid} on {self.host}"


class KillOutcome(models.TextChoices):
    ASKED = "asked"
    ENDED = "ended"
    NOT_FOUND = "not_found"
    REFUSED = "refused"
    FAILED = "failed"


class Kill(models.Model):
    """Somebody asked for the end of a process: who, when, which, and what came of it."""

    host = models.CharField(max_length=255)
    pid = models.BigIntegerField()
    signal = models.CharField(max_length=16)
    asked_by = models.CharField(max_length=255)
    asked_at = models.DateTimeField(default=timezone.now)
    outcome = models.CharField(max_length=16, choices=KillOutcome, default=KillOutcome.ASKED)
    detail = models.TextField(blank=True)
    task_id = models.CharField(max_length=128, blank=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-asked_at"]
        indexes = [models.Index(fields=["-asked_at"], name="kill_newest")]

    def __str__(self) -> str:
        return f"{self.signal} to {self.pid} on {self.host}: {self.outcome}"
