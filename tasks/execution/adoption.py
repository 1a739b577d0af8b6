"""Finds out what became of the runs of this host, whoever started them, and carries out what is due."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from monitoring.about import about
from tasks import services
from tasks.errors import LostRace
from tasks.execution import supervisor
from tasks.execution.follower import Followed
from tasks.execution.launcher import launch, make_run_dir
from tasks.execution.spool import spooled
from tasks.models import Run, RunState

logger = logging.getLogger(__name__)

LAUNCH_PATIENCE = timedelta(seconds=10)
"""A run in `starting` younger than this may be in the hands of a dispatcher that has not finished."""
ORPHAN_ROUNDS = 5
"""Searches for orphans; each finds what those of the one before have forked meanwhile."""


def examine(followed: Followed) -> bool:
    """Makes sure that somebody looks after the run; returns whether it is still in flight.

    A run whose launch was interrupted is launched again. One of which neither a supervisor nor an exit record
    is left is lost: its orphans are found by their environment marker and ended first, its spool is stored.
    Raises `LostRace` when the run has moved on meanwhile.
    """
    run, directory = followed.run, followed.directory
    if supervisor.is_alive(directory):
        return True
    if _has_exit_record(followed):
        return True  # the follower ends it
    if not (directory / supervisor.STARTED).exists():
        return _relaunch(followed)
    # The supervisor may have ended between the two looks above.
    if _has_exit_record(followed) or supervisor.is_alive(directory):
        return True
    _end_orphans(followed)
    followed.drain()
    followed.clear_scratch()
    services.lose(run)
    return False


def _has_exit_record(followed: Followed) -> bool:
    """Whether the follower can end the run: by a whole record. A damaged one is none."""
    return supervisor.read_json(followed.directory / supervisor.EXIT) is not None


def _end_orphans(followed: Followed) -> None:
    run = followed.run
    keeper = supervisor.read_json(followed.directory / supervisor.SUPERVISOR) or {}
    for _ in range(ORPHAN_ROUNDS):
        orphans = supervisor.descendants_by_marker(str(run.pk), supervisor=keeper.get("identity"))
        if not orphans:
            return
        logger.warning("the run has lost its supervisor: ending %d orphans", len(orphans))
        supervisor.end_processes(orphans, settings.KILL_GRACE)
    logger.error("some orphans of the run could not be ended")


def _relaunch(followed: Followed) -> bool:
    run = followed.run
    if timezone.now() - run.created_at < LAUNCH_PATIENCE:
        return True
    if run.state != RunState.STARTING:
        _end_orphans(followed)
        services.lose(run, f"The spool directory of the run is gone from {run.host}.")
        return False
    logger.warning("the launch of the run was interrupted: launching it again")
    launch(run)
    return True


def carry_out_stop(run: Run) -> None:
    """Passes on a stop that the run's row asks for, again and again until the run has ended."""
    # Whoever claimed the run may have died before there was a spool. Who launches it then finds the order,
    # and no agent is started.
    supervisor.request_stop(make_run_dir(run), reason=run.stop_reason)


def stop_run(run_id: str) -> None:
    """Carries out the stop of one run of this host at once."""
    run = Run.objects.filter(pk=run_id, host=settings.HOSTNAME).exclude(state=RunState.ENDED).first()
    if run is not None and run.stop_reason:
        carry_out_stop(run)


def end_disowned() -> None:
    """Ends the agents here whose run has ended without them.

    Another host declares the runs of a silent one lost, and may have started them anew meanwhile.
    """
    alive = {name for name in spooled() if supervisor.is_alive(settings.RUNS_DIR / name)}
    owned = Run.objects.filter(pk__in=alive).exclude(state=RunState.ENDED).values_list("pk", flat=True)
    for name in alive - {str(pk) for pk in owned}:
        directory = settings.RUNS_DIR / name
        # With an exit record its supervisor is just about to go by itself.
        if supervisor.read_json(directory / supervisor.EXIT) is None:
            with about("", name):
                logger.warning("the run has ended, and its agent goes on: it is ended")
            supervisor.request_stop(directory, reason="lost")


def still_in_flight(followed: Followed) -> bool:
    """`examine`, where a run that somebody else ended meanwhile is simply not in flight any more."""
    try:
        return examine(followed)
    except LostRace as race:
        logger.info("%s", race)
        return False
