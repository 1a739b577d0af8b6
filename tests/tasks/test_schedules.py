"""Recurring work: when its turns are, and that each makes one task."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import IntegrityError, connection
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule

from tasks import schedules, services
from tasks.agents.base import Exit, Verdict
from tasks.models import Overlap, Priority, Schedule, Task, Turn
from tasks.selectors import get_task, runtime

BERLIN = ZoneInfo("Europe/Berlin")


def crontab(minute: str = "*", hour: str = "*", zone: str = "Europe/Berlin") -> CrontabSchedule:
    return CrontabSchedule.objects.create(minute=minute, hour=hour, timezone=zone)


def every(count: int, period: str = IntervalSchedule.MINUTES) -> IntervalSchedule:
    return IntervalSchedule.objects.create(every=count, period=period)


def make(name: str = "nightly", **values: Any) -> Schedule:
    if not {"crontab", "interval"} & set(values):
        values["interval"] = every(10)
    schedule = Schedule(name=name, type="testing", description="Run the tests", **values)
    schedules.save(schedule)
    return schedule


def due(schedule: Schedule, planned: datetime) -> Schedule:
    """As if its next turn were then."""
    Schedule.objects.filter(pk=schedule.pk).update(next_at=planned)
    schedule.refresh_from_db()
    return schedule


def outcomes(schedule: Schedule) -> list[str]:
    return list(schedule.turns.order_by("pk").values_list("outcome", flat=True))


@pytest.mark.django_db
def test_makes_a_task_of_its_template_when_its_time_has_come() -> None:
    schedule = make(priority=Priority.HIGH, model="m", max_retries=2, timeout_ms=60_000)
    assert schedules.take_turns() == 0
    planned = datetime(2026, 3, 1, 4, 30, tzinfo=UTC)
    due(schedule, planned)
    assert schedules.take_turns() == 1
    task = get_task("nightly-20260301T043000")
    assert (task.description, task.priority, task.model, task.max_retries) == ("Run the tests", 2, "m", 2)
    assert (task.schedule_id, task.timeout_ms) == (schedule.pk, 60_000)
    (turn,) = schedule.turns.all()
    assert (turn.outcome, turn.task_id, turn.planned_at) == ("submitted", task.pk, planned)
    # What was missed is made up for once: the next turn lies ahead.
    schedule.refresh_from_db()
    assert schedule.next_at is not None
    assert timezone.now() < schedule.next_at <= timezone.now() + timedelta(minutes=10)
    assert schedules.take_turns() == 0


@pytest.mark.django_db(transaction=True)
def test_takes_each_turn_once_however_many_look() -> None:
    schedule = due(make(), timezone.now() - timedelta(seconds=1))
    start = threading.Barrier(6)

    def look() -> None:
        start.wait()
        schedules.take_turns()
        connection.close()

    hosts = [threading.Thread(target=look) for _ in range(6)]
    for host in hosts:
        host.start()
    for host in hosts:
        host.join()
    assert Task.objects.count() == 1
    assert outcomes(schedule) == ["submitted"]


@pytest.mark.django_db
def test_skips_a_turn_while_an_earlier_task_is_unfinished_and_says_why() -> None:
    schedule = make(overlap=Overlap.SKIP)
    for hours in (3, 2):
        due(schedule, timezone.now() - timedelta(hours=hours))
        schedules.take_turns()
    assert outcomes(schedule) == ["submitted", "skipped"]
    first = Task.objects.get()
    assert schedule.turns.first().detail == f"Its task '{first.pk}' is pending"  # type: ignore[union-attr]
    services.cancel(first.pk)
    due(schedule, timezone.now() - timedelta(hours=1))
    schedules.take_turns()
    assert outcomes(schedule)[-1] == "submitted"


@pytest.mark.django_db
def test_queues_a_turn_until_the_earlier_task_has_ended_however_it_did(host: str) -> None:
    schedule = make(overlap=Overlap.QUEUE)
    for hours in (3, 2, 1):
        due(schedule, timezone.now() - timedelta(hours=hours))
        schedules.take_turns()
    assert outcomes(schedule) == ["submitted"] * 3
    for _ in range(3):
        (run,) = services.claim(host, 9)
        waiting = Task.objects.filter(status="pending")
        for task in waiting:
            word, why = runtime(task)
            assert word == "waiting"
            assert "an earlier turn of its schedule" in why
        assert services.claim(host, 9) == []
        failed = Verdict(succeeded=False, reason=None, detail="no")
        end = Exit(code=1, signal=None, stopped_by=None)
        services.finish(run, failed, end, peak_memory=None, cpu_seconds=None)
    assert services.claim(host, 9) == []


@pytest.mark.django_db
def test_says_why_a_turn_made_no_task_and_goes_on() -> None:
    schedule = due(make(working_dir="/nowhere/at/all"), timezone.now() - timedelta(seconds=1))
    assert schedules.take_turns() == 1
    (turn,) = schedule.turns.all()
    assert (turn.outcome, turn.task_id) == ("refused", "")
    assert "/nowhere/at/all" in turn.detail
    schedule.refresh_from_db()
    assert schedule.next_at is not None
    assert schedule.next_at > timezone.now()


@pytest.mark.django_db
def test_takes_a_turn_by_hand_beside_the_planned_ones() -> None:
    schedule = make()
    before = schedule.next_at
    turn = schedules.take_turn_now(schedule, "ada")
    assert (turn.outcome, turn.asked_by) == ("submitted", "ada")
    assert get_task(turn.task_id).schedule == schedule
    schedule.refresh_from_db()
    assert schedule.next_at == before
    assert schedules.take_turn_now(schedule, "ada").outcome == "skipped"


@pytest.mark.django_db
def test_rests_while_it_is_not_enabled() -> None:
    schedule = make(enabled=False)
    assert schedule.next_at is None
    assert schedules.upcoming(schedule) == []
    schedule.enabled = True
    schedules.save(schedule)
    assert schedule.next_at is not None


@pytest.mark.django_db
def test_reads_a_crontab_in_its_own_time_zone_when_the_clocks_change() -> None:
    schedule = make(crontab=crontab("30", "2"))
    summer, winter = datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 10, 24, 12, tzinfo=UTC)
    turns = []
    for after in (summer, winter):
        for _ in range(3):
            after = schedules.next_turn(schedule, after)
            turns.append(after.astimezone(BERLIN))
    # On 29 March half past two does not exist; on 25 October it comes twice, and counts once.
    assert [f"{turn:%m-%d}" for turn in turns] == ["03-29", "03-30", "03-31", "10-25", "10-26", "10-27"]
    assert [turn.hour for turn in turns[1:]] == [2] * 5


@pytest.mark.django_db
@pytest.mark.parametrize("hour", ["*", "2", "2,3", "*/2"])
@pytest.mark.parametrize("minute", ["*", "0", "30", "*/15"])
def test_never_finds_the_same_or_an_earlier_turn(minute: str, hour: str) -> None:
    schedule = make(crontab=crontab(minute, hour))
    for start in (datetime(2026, 3, 28, 23, 50, tzinfo=UTC), datetime(2026, 10, 24, 23, 50, tzinfo=UTC)):
        after = start
        for _ in range(60):
            turn = schedules.next_turn(schedule, after)
            assert turn > after
            after = turn


@pytest.mark.django_db
def test_shows_the_next_turns_in_its_own_time_zone() -> None:
    schedule = due(make(crontab=crontab("0", "6")), datetime(2026, 11, 24, 5, tzinfo=UTC))
    turns = schedules.upcoming(schedule)
    assert [f"{turn:%d %H:%M}" for turn in turns] == [f"{day} 06:00" for day in (24, 25, 26, 27, 28)]
    assert turns[0].tzinfo == BERLIN
    schedule = due(make("often", interval=every(90)), datetime(2026, 11, 24, 5, tzinfo=UTC))
    assert [f"{turn:%H:%M}" for turn in schedules.upcoming(schedule, 3)] == ["05:00", "06:30", "08:00"]


@pytest.mark.django_db
def test_has_a_crontab_or_an_interval() -> None:
    with pytest.raises(IntegrityError):
        Schedule.objects.create(name="never", type="testing", description="d")


@pytest.mark.django_db
def test_remembers_a_thousand_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "TURNS_KEPT", 3)
    schedule = make()
    for _ in range(5):
        schedules.take_turn_now(schedule, "ada")
    assert Turn.objects.count() == 3
