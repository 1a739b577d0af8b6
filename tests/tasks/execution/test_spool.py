"""What goes from the spool of this host, and what stays whatever is asked for."""

from __future__ import annotations

import os
import time
import uuid
from typing import Any

import pytest

from monitoring.models import LogEntry, Upkeep
from tasks import services
from tasks.agents.base import Exit, Verdict
from tasks.execution import spool
from tasks.execution.disk import MIB
from tasks.execution.spool import Trimmed, trim_spool
from tasks.models import Run
from tests.tasks.execution.conftest import Spooled


@pytest.mark.parametrize("age", [0.0, 2 * spool.SPOOL_PATIENCE])
def test_prunes_old_spool_directories_that_no_run_owns(spooled: Spooled, settings: Any, age: float) -> None:
    followed = spooled(stdout="x")
    left = settings.RUNS_DIR / str(uuid.uuid4())
    other = settings.RUNS_DIR / "somebody's notes"
    for path in (left, other):
        path.mkdir()
    for path in (left, other, followed.directory):
        os.utime(path, (time.time() - age,) * 2)
    assert trim_spool().directories == (1 if age else 0)
    assert left.exists() is (age == 0)
    assert other.exists()
    assert followed.directory.exists()
    followed.run.task.delete()
    os.utime(followed.directory, (1, 1))
    trim_spool()
    assert not followed.directory.exists()


def test_takes_the_raw_output_of_those_that_ended_first_when_it_is_too_much(spooled: Spooled) -> None:
    followed = [spooled(task_id, stdout="x" * (MIB + 1)) for task_id in "abcd"]
    LogEntry.objects.create(level="info", message="kept", agent="a")
    for each in (followed[1], followed[0], followed[2]):
        end(each.run)
    size = sum(path.stat().st_blocks * 512 for path in followed[0].directory.iterdir())
    assert trim_spool() == Trimmed()
    Upkeep.objects.create(pk=1, keep_spool_mb=3)
    # Four of a MiB and a bit are two more than fit; the one that works has none to spare.
    assert trim_spool(dry_run=True) == Trimmed(2, 2 * size)
    assert all(each.directory.exists() for each in followed)
    assert trim_spool() == Trimmed(2, 2 * size)
    assert [each.directory.exists() for each in followed] == [False, False, True, True]
    assert trim_spool() == Trimmed()
    assert LogEntry.objects.filter(message="kept").exists()


def test_never_takes_what_a_run_in_flight_writes(spooled: Spooled) -> None:
    followed = spooled(stdout="x" * MIB)
    Upkeep.objects.create(pk=1, keep_spool_mb=0)
    assert trim_spool() == Trimmed()
    assert followed.directory.exists()


def end(run: Run) -> None:
    good = Verdict(succeeded=True, reason=None, detail="")
    services.finish(run, good, Exit(code=0, signal=None, stopped_by=None), peak_memory=None, cpu_seconds=None)
