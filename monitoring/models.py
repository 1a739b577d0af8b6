"""What happened: log entries."""

from __future__ import annotations

from datetime import UTC, datetime

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from monitoring.row_counts import RowCount


class Level(models.TextChoices):
    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class LogEntry(models.Model):
    """One line of an agent's log, or a line of the server's about a task."""

    time = models.DateTimeField(default=timezone.now)
    level = models.CharField(max_length=8, choices=Level)
    message = models.TextField()
    agent = models.CharField(max_length=128, blank=True, help_text="The task's id.")
    run_id = models.UUIDField(null=True, help_text="The run that wrote it.")
    details = models.JSONField(default=dict)

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "log entries"
        indexes = [
            models.Index(fields=["agent", "-id"], name="log_agent"),
            models.Index(fields=["level", "-id"], name="log_level"),
            models.Index(fields=["time"], name="log_time"),
            models.Index(fields=["run_id", "id"], name="log_run", condition=models.Q(run_id__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.time:%H:%M:%S} {self.level} {self.message[:80]}"


class LogCount(RowCount):
    """How many log entries there are of a level."""

    level = models.CharField(max_length=8)


class ResourceSample(models.Model):
    """The load of one host at one moment. Percentages are of the whole machine, over the interval before."""

    host = models.CharField(max_length=255)
    at = models.DateTimeField(default=timezone.now)
    stamp = models.BigIntegerField(
        help_text="`at` in whole epoch seconds, which every database can group by."
    )
    interval = models.FloatField(help_text="Seconds that the percentages and rates cover.")
    cpu_percent = models.FloatField()
    memory_percent = models.FloatField()
    memory_used = models.BigIntegerField(help_text="Bytes.")
    memory_total = models.BigIntegerField(help_text="Bytes.")
    disk_percent = models.FloatField()
    disk_used = models.BigIntegerField(help_text="Bytes, of the file system of the data directory.")
    disk_total = models.BigIntegerField(help_text="Bytes.")
    bytes_sent = models.BigIntegerField(help_text="Since the machine started, as are the next three.")
    bytes_recv = models.BigIntegerField()
    packets_sent = models.BigIntegerField()
    packets_recv = models.BigIntegerField()
    load1 = models.FloatField()
    load5 = models.FloatField()
    load15 = models.FloatField()
    processes = models.PositiveIntegerField()
    agent_processes = models.PositiveIntegerField()

    class Meta:
        ordering = ["-at"]
        indexes = [
            models.Index(fields=["host", "-at"], name="sample_host_newest"),
            models.Index(fields=["stamp"], name="sample_stamp"),
        ]

    def __str__(self) -> str:
        return f"{self.host} {self.at:%H:%M:%S} CPU {self.cpu_percent:.0f} %"


class LoadPeriod(models.Model):
    """The samples of all hosts in one period, summed up. See `monitoring.loads`."""

    start = models.BigIntegerField(primary_key=True, help_text="Epoch seconds.")
    samples = models.PositiveIntegerField()
    cpu_total = models.FloatField(help_text="Sum of the samples' percentages.")
    memory_total = models.FloatField(help_text="The same of memory.")

    def __str__(self) -> str:
        return f"{datetime.fromtimestamp(self.start, UTC):%m-%d %H:%M}: {self.samples} samples"


class StreamFloor(models.Model):
    """How far retention has taken a channel's updates away."""

    channel = models.CharField(primary_key=True, max_length=32)
    position = models.BigIntegerField(help_text="The newest id that was taken away.")

    def __str__(self) -> str:
        return f"{self.channel}: {self.position}"


class Upkeep(models.Model):
    """What the server does by itself, as its operators want it: one row, or none for the defaults."""

    sample_interval = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(3600)],
        help_text="Seconds between two samples of the machine; empty means OPENCODE_SAMPLE_INTERVAL.",
    )
    keep_logs_days = models.PositiveIntegerField(
        default=90, null=True, blank=True, help_text="Days that log entries are kept; empty means for ever."
    )
    keep_samples_days = models.PositiveIntegerField(
        default=30, null=True, blank=True, help_text="Days that samples are kept; empty means for ever."
    )
    keep_tasks_days = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="Days that finished tasks are kept, with runs and spool files; empty means for ever.",
    )
    keep_logs_max = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Log entries that are kept at most, the newest; empty means all."
    )
    keep_samples_max = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Samples that are kept at most, the newest; empty means all."
    )
    keep_tasks_max = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="Finished tasks that are kept at most, with their runs; empty means all.",
    )
    keep_spool_mb = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="MiB that the spool of a host may take at most: the raw output of the runs that ended "
        "first goes, their log stays; empty means any number.",
    )
    min_free_mb = models.PositiveIntegerField(
        default=200,
        help_text="MiB that the disks of database and spool must have free for new runs to be started.",
    )

    class Meta:
        verbose_name_plural = "upkeep"
        constraints = [models.CheckConstraint(condition=models.Q(pk=1), name="upkeep_one_row")]

    def __str__(self) -> str:
        return "upkeep"


class Total(models.Model):
    """A number that only grows, whatever is deleted. Added to by `monitoring.totals`."""

    name = models.CharField(max_length=64)
    labels = models.CharField(max_length=255, blank=True, help_text="Values, with tabs between.")
    value = models.FloatField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["name", "labels"], name="total_once")]

    def __str__(self) -> str:
        return f"{self.name} {self.labels}: {self.value:g}"


class RequestPeriod(models.Model):
    """What one web process answered in one period."""

    process = models.UUIDField(null=True, help_text="Empty when several processes were merged.")
    start = models.DateTimeField()
    seconds = models.PositiveIntegerField(help_text="Length of the period.")
    count = models.PositiveIntegerField()
    total_ms = models.FloatField()
    low_ms = models.FloatField()
    high_ms = models.FloatField()
    bytes = models.BigIntegerField(help_text="Of requests and replies.")
    buckets = models.JSONField(default=dict, help_text="See monitoring.histogram.")
    errors = models.JSONField(default=dict, help_text="Number of errors by code.")

    class Meta:
        ordering = ["start"]
        indexes = [models.Index(fields=["start"], name="request_start")]
        constraints = [
            models.UniqueConstraint(fields=["process", "start", "seconds"], name="request_period_once")
        ]

    def __str__(self) -> str:
        return f"{self.start:%H:%M:%S} +{self.seconds} s: {self.count}"
