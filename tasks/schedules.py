"""Recurring work: whose turn it is, and what comes of it.

A turn is taken by moving the schedule's `next_at` on, under the condition that nobody else has: so each turn
makes at most one task, however many hosts look and whatever is started again. Turns that were missed because
nothing ran are made up for once.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from django.db import transaction
from django.utils import timezone

from tasks import services
from tasks.errors import TaskError
from tasks.models import Overlap, Priority, Schedule, Status, Turn, TurnOutcome

logger = logging.getLogger(__name__)

TURNS_KEPT = 1000
"""Of each schedule; older ones are forgotten."""


def save(schedule: Schedule) -> None:
    """Stores a schedule that is new or has other times; its next turn is reckoned from now."""
    schedule.next_at = None
    if schedule.enabled:
        schedule.next_at = next_turn(schedule, timezone.now())
    schedule.save()


def reckon_anew(schedules: list[Schedule]) -> None:
    """Their crontab or interval has been changed."""
    for schedule in schedules:
        save(schedule)


def next_turn(schedule: Schedule, after: datetime) -> datetime:
    """The first turn after a moment. A crontab is read in its own time zone."""
    if schedule.interval is not None:
        period: timedelta = schedule.interval.schedule.run_every
        start = schedule.next_at or after
        return start + period * max(0, (after - start) // period) + period
    times = schedule.crontab.schedule  # type: ignore[union-attr]  # the database holds one of the two
    last, delta, _ = times.remaining_delta(after)
    turn: datetime = last + delta
    # An hour that is skipped or comes twice when the clocks change must not let a turn lie in the past.
    while turn.astimezone(UTC) <= after:
        last, delta, _ = times.remaining_delta(turn + timedelta(minutes=1))
        turn = last + delta
    return turn.astimezone(UTC)


def upcoming(schedule: Schedule, count: int = 5) -> list[datetime]:
    """The next turns, in the schedule's own time zone; none while it is not enabled."""
    turns: list[datetime] = []
    turn = schedule.next_at
    while turn is not None and len(turns) < count:
        turns.append(turn.astimezone(zone(schedule)))
        turn = (
            turn + schedule.interval.schedule.run_every
            if schedule.interval is not None
            else next_turn(schedule, turn)
        )
    return turns


def zone(schedule: Schedule) -> ZoneInfo:
    """The time zone that the schedule is told in: a crontab's own, UTC for an interval."""
    return ZoneInfo(str(schedule.crontab.timezone)) if schedule.crontab is not None else ZoneInfo("UTC")


def take_turns(now: datetime | None = None) -> int:
    """Takes every turn whose time has come; returns how many."""
    now = now or timezone.now()
    due = Schedule.objects.filter(enabled=True, next_at__lte=now).select_related("crontab", "interval")
    return sum(_take(schedule, now) for schedule in due)


def take_turn_now(schedule: Schedule, asked_by: str) -> Turn:
    """A turn beside the planned ones, because somebody asks for it."""
    with transaction.atomic():
        return _submit(schedule, timezone.now(), asked_by=asked_by)


def _take(schedule: Schedule, now: datetime) -> bool:
    planned = schedule.next_at
    assert planned is not None  # noqa: S101 - it was found by it
    following = next_turn(schedule, max(now, planned))
    with transaction.atomic():
        mine = Schedule.objects.filter(pk=schedule.pk, enabled=True, next_at=planned)
        if not mine.update(next_at=following):
            return False
        turn = _submit(schedule, planned)
    logger.info("schedule %s: the turn of %s was %s", schedule.name, planned, turn.outcome)
    return True


def _submit(schedule: Schedule, planned: datetime, *, asked_by: str = "") -> Turn:
    turn = Turn(schedule=schedule, planned_at=planned, asked_by=asked_by)
    unfinished = schedule.tasks.filter(status__in=(Status.PENDING, Status.RUNNING)).order_by("created_at")
    earlier = unfinished.last()
    if earlier is not None and schedule.overlap == Overlap.SKIP:
        turn.outcome = TurnOutcome.SKIPPED
        turn.detail = f"Its task '{earlier.pk}' is {earlier.status}"
    else:
        try:
            with transaction.atomic():
                turn.task_id = services.submit(_new_task(schedule, planned), schedule=schedule).pk
            turn.outcome = TurnOutcome.SUBMITTED
        except TaskError as error:
            turn.outcome, turn.detail = TurnOutcome.REFUSED, error.message
            logger.warning("schedule %s: no task was made: %s", schedule.name, error.message)
    turn.save()
    _forget_old(schedule)
    return turn


def _new_task(schedule: Schedule, planned: datetime) -> services.NewTask:
    moment = planned.astimezone(UTC)
    digits = f"{moment:%Y%m%dT%H%M%S}" + (f".{moment.microsecond:06}" if moment.microsecond else "")
    return services.NewTask(
        id=f"{schedule.name}-{digits}",
        type=schedule.type,
        description=schedule.description,
        priority=Priority(schedule.priority),
        files_pattern=schedule.files_pattern,
        timeout_ms=schedule.timeout_ms,
        working_dir=schedule.working_dir or None,
        agent=schedule.agent,
        model=schedule.model,
        max_retries=schedule.max_retries,
    )


def _forget_old(schedule: Schedule) -> None:
    oldest = schedule.turns.values_list("pk", flat=True)[TURNS_KEPT : TURNS_KEPT + 1]
    for pk in oldest:
        schedule.turns.filter(pk__lte=pk).delete()
