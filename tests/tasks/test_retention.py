"""What is old goes, what belongs to unfinished work stays, and who is behind is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from monitoring import upkeep
from monitoring.logbook import LOG_STREAM
from monitoring.models import LogEntry, ResourceSample, Upkeep
from tasks import services
from tasks.agents.base import Exit, Verdict
from tasks.events import AGENT_STREAM, TASK_STREAM
from tasks.models import AgentState, Run, Task
from tasks.retention import Pruned, prune, would_prune

Claimed = Callable[..., Run]
OLD = timedelta(days=100)


def wanted(**values: Any) -> None:
    Upkeep.objects.update_or_create(pk=1, defaults=values)


def log(agent: str = "", *, age: timedelta = OLD) -> LogEntry:
    return LogEntry.objects.create(level="info", message="m", agent=agent, time=timezone.now() - age)


def finish(run: Run) -> None:
    good = Verdict(succeeded=True, reason=None, detail="")
    services.finish(run, good, Exit(code=0, signal=None, stopped_by=None), peak_memory=None, cpu_seconds=None)


def sample(age: timedelta) -> ResourceSample:
    numbers = {
        field.name: 0
        for field in ResourceSample._meta.fields
        if field.get_internal_type() in ("FloatField", "BigIntegerField", "PositiveIntegerField")
    }
    return ResourceSample.objects.create(**{**numbers, "host": "h", "at": timezone.now() - age})


@pytest.mark.django_db
def test_takes_old_log_entries_and_samples_and_says_how_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "BATCH", 2)
    old = [log() for _ in range(5)]
    young = log(age=timedelta(days=1))
    for age in (OLD, timedelta(0)):
        sample(age)
    assert would_prune() == Pruned(logs=5, samples=1, tasks=0)
    assert LogEntry.objects.count() == 6
    assert prune() == Pruned(logs=5, samples=1, tasks=0)
    assert list(LogEntry.objects.all()) == [young]
    assert ResourceSample.objects.count() == 1
    assert LOG_STREAM.floor() == old[-1].pk
    assert prune() == Pruned(logs=0, samples=0, tasks=0)


@pytest.mark.django_db
def test_keeps_everything_for_ever_if_asked_to() -> None:
    wanted(keep_logs_days=None, keep_samples_days=None, keep_tasks_days=None)
    log()
    sample(OLD)
    assert prune() == Pruned(logs=0, samples=0, tasks=0)


@pytest.mark.django_db
def test_takes_finished_tasks_that_nobody_waits_for(claimed: Claimed, submit: Callable[..., Task]) -> None:
    wanted(keep_tasks_days=30)
    for name in ("done", "needed", "running"):
        run = claimed(name)
        if name != "running":
            finish(run)
    submit("waiting", "needed", "running")
    log("running")
    log("done")
    Task.objects.filter(completed_at__isnull=False).update(completed_at=timezone.now() - OLD)
    newest = Task.objects.get(pk="done").transitions.order_by("pk").last()
    pruned = prune()
    assert pruned.tasks == 1
    assert set(Task.objects.values_list("pk", flat=True)) == {"needed", "running", "waiting"}
    assert LogEntry.objects.filter(agent="running").exists()
    assert not LogEntry.objects.filter(agent="done").exists()
    assert newest is not None
    assert TASK_STREAM.floor() == newest.pk


@pytest.mark.django_db
def test_tells_who_resumes_that_a_deleted_task_is_missing() -> None:
    services.submit(services.NewTask(id="gone", type="testing", description="d"))
    line = LogEntry.objects.create(level="info", message="m", agent="gone")
    services.delete("gone")
    assert LOG_STREAM.floor() == line.pk
    assert TASK_STREAM.floor() > 0


@pytest.mark.django_db
def test_tells_who_resumes_that_old_agents_are_missing() -> None:
    record = {"id": "1", "name": "opencode", "status": "ended"}
    state = AgentState.objects.create(agent="1", record=record, at=timezone.now() - OLD)
    prune()
    assert not AgentState.objects.exists()
    assert AGENT_STREAM.floor() == state.pk


@pytest.mark.django_db(transaction=True)
def test_gives_room_back_to_the_file_system() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL's autovacuum does it")
    with connection.cursor() as cursor:
        assert cursor.execute("PRAGMA auto_vacuum").fetchone() == (2,)
        LogEntry.objects.bulk_create(
            LogEntry(level="info", message="m" * 1000, time=timezone.now() - OLD) for _ in range(3000)
        )
        (before,) = cursor.execute("PRAGMA page_count").fetchone()
        prune()
        (after,) = cursor.execute("PRAGMA page_count").fetchone()
    assert after < before - 500


@pytest.mark.django_db
def test_lets_the_admin_set_the_sampling_interval(client: Client, settings: Any) -> None:
    every = IntervalSchedule.objects.create(every=5, period="seconds")
    PeriodicTask.objects.create(name=upkeep.OBSERVE_ENTRY, task="tasks.observe_hosts", interval=every)
    client.force_login(User.objects.create_superuser("boss", password="secret"))
    page = client.get("/admin/monitoring/upkeep/", follow=True)
    assert page.redirect_chain[-1][0].endswith("/1/change/")
    assert upkeep.sample_interval() == settings.SAMPLE_INTERVAL
    for asked, stored in (("20", (20, "seconds")), ("2.5", (2_500_000, "microseconds"))):
        form = {"sample_interval": asked, "keep_logs_days": "7", "keep_samples_days": "", "min_free_mb": "9"}
        client.post("/admin/monitoring/upkeep/1/change/", form)
        entry = PeriodicTask.objects.get(name=upkeep.OBSERVE_ENTRY)
        assert entry.interval is not None
        assert (entry.interval.every, entry.interval.period) == stored
    assert (upkeep.current().keep_logs_days, upkeep.current().keep_samples_days) == (7, None)
    answer = client.post("/admin/monitoring/upkeep/1/change/", {"sample_interval": "0.1"})
    assert "greater than or equal to 1" in answer.content.decode()


@pytest.mark.django_db
def test_takes_what_is_more_than_is_kept_the_oldest_first(
    claimed: Claimed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "BATCH", 2)
    for name in "abcd":
        finish(claimed(name))
    Task.objects.filter(pk="b").update(completed_at=timezone.now() - timedelta(days=1))
    LogEntry.objects.all().delete()
    old, young = [log() for _ in range(3)], [log(age=timedelta(0)) for _ in range(5)]
    for _ in range(3):
        sample(timedelta(0))
    wanted(keep_logs_max=4, keep_samples_max=1, keep_tasks_max=3)
    # Three entries are too old, and one more is too much: each is counted once.
    assert would_prune() == Pruned(logs=4, samples=2, tasks=1)
    told: list[tuple[str, int]] = []
    assert prune(told=lambda name, more: told.append((name, more))) == Pruned(logs=4, samples=2, tasks=1)
    assert told == [("logs", 2), ("logs", 1), ("logs", 1), ("samples", 2), ("tasks", 1)]
    assert set(LogEntry.objects.filter(agent="", message="m")) == set(young[1:])
    assert LOG_STREAM.floor() == young[0].pk > old[-1].pk
    assert set(Task.objects.values_list("pk", flat=True)) == {"a", "c", "d"}
    wanted(keep_logs_max=0, keep_samples_max=0, keep_tasks_max=0)
    prune()
    assert [model.objects.count() for model in (LogEntry, ResourceSample, Task)] == [0, 0, 0]


@pytest.mark.django_db
def test_never_takes_the_log_of_unfinished_work_however_much_it_is(claimed: Claimed) -> None:
    claimed("working")
    LogEntry.objects.all().delete()
    of_work = [log(agent="working", age=timedelta(0)) for _ in range(3)]
    log(age=timedelta(0))
    wanted(keep_logs_max=1)
    prune()
    assert set(LogEntry.objects.filter(agent="working")) == set(of_work)
