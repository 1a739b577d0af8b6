"""What the database counts itself, held against what is there: for each moment, whether the two agree.

Run with a database's settings. Prints a JSON object of what was found: {"a moment": [kept, counted], ...}.
"""

from __future__ import annotations

import json
import threading
from typing import Any

import django

django.setup()

from django.core.management import call_command  # noqa: E402 - only after the set-up
from django.db import connection, transaction  # noqa: E402
from django.db.models import Count, Sum  # noqa: E402
from django.utils import timezone  # noqa: E402

from monitoring import row_counts  # noqa: E402
from monitoring.models import LogCount, LogEntry  # noqa: E402
from tasks.models import Priority, Status, Task, TaskCount  # noqa: E402

WRITERS, BATCHES = 4, 30
COLUMNS: dict[type[LogCount | TaskCount], tuple[type[LogEntry | Task], tuple[str, ...]]] = {
    LogCount: (LogEntry, ("level",)),
    TaskCount: (Task, ("status", "type", "priority")),
}
found: dict[str, list[Any]] = {}


def look(moment: str) -> None:
    for counts, (model, columns) in COLUMNS.items():
        kept = counts._default_manager.values_list(*columns).annotate(Sum("number"))
        there = model._default_manager.order_by().values_list(*columns).annotate(Count("pk"))
        found[f"{moment}: {model.__name__}"] = [
            sorted(list(row) for row in kept if row[-1]),
            sorted(list(row) for row in there),
        ]


def lines(number: int, level: str) -> list[LogEntry]:
    return [LogEntry(level=level, message=str(place)) for place in range(number)]


def tasks(number: int, priority: Priority = Priority.LOW) -> None:
    Task.objects.bulk_create(
        Task(id=f"{priority}-{place}", type="testing", priority=priority, description="x", working_dir="/")
        for place in range(number)
    )


def write() -> None:
    for batch in range(BATCHES):
        with transaction.atomic():
            LogEntry.objects.bulk_create([*lines(3, "info"), *lines(batch % 2, "error")])
        if batch % 10 == 9:
            row_counts.fold(LogCount)
    connection.close()


def main() -> None:
    call_command("migrate", verbosity=0)
    for app, before in (("tasks", "0008"), ("monitoring", "0007")):
        call_command("migrate", app, before, verbosity=0)
    LogEntry.objects.bulk_create(lines(7, "info"))
    tasks(5)
    call_command("migrate", verbosity=0)
    look("what was there before")
    tasks(20, Priority.HIGH)
    Task.objects.filter(id__endswith="3").update(status=Status.RUNNING)
    Task.objects.filter(status=Status.RUNNING).update(progress=50)
    Task.objects.filter(id__endswith="4").delete()
    Task.objects.filter(id="2-5").update(type="review", priority=Priority.LOW)
    look("changed")
    with transaction.atomic():
        LogEntry.objects.bulk_create(lines(11, "warn"))
        transaction.set_rollback(True)
    look("rolled back")
    row_counts.MANY = 1
    writers = [threading.Thread(target=write) for _ in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    LogEntry.objects.filter(level="error").delete()
    look("written by several at once")
    for counts in COLUMNS:
        row_counts.fold(counts)
    look("added up")
    found["rows of counts"] = [counts._default_manager.count() for counts in COLUMNS]
    rows = TaskCount.objects.count()
    Task.objects.filter(status=Status.PENDING).update(status=Status.CANCELLED, completed_at=timezone.now())
    found["rows of a change of many"] = [TaskCount.objects.count() - rows]
    look("changed at once")
    call_command("flush", interactive=False, verbosity=0)
    look("emptied")
    print(json.dumps(found))  # noqa: T201 - for whoever has started us


if __name__ == "__main__":
    main()
