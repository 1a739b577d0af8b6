"""Disk pressure, on real file systems."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from monitoring.models import Level, LogEntry, Upkeep
from tasks import services
from tasks.errors import SpoolNotWritable
from tasks.execution.disk import MIB, may_start_runs
from tasks.execution.launcher import dispatch
from tasks.models import Host, Run, Status
from tasks.selectors import get_task, runtime


def bound(**values: Any) -> None:
    Upkeep.objects.update_or_create(pk=1, defaults=values)


def because(settings: Any) -> str:
    return Host.objects.get(pk=settings.HOSTNAME).paused_because


@pytest.fixture
def ready(db: None, settings: Any, tmp_path: Path) -> Any:
    """This host has reported, and a task waits."""
    settings.RUNS_DIR = tmp_path / "runs"
    settings.OPENCODE_BIN = "/nowhere/opencode"  # a run that is claimed after all fails at once
    services.report_host(settings.HOSTNAME, slots=4, pid=1, started_at=timezone.now(), agents={})
    services.submit(services.NewTask(id="waits", type="testing", description="d"))
    return settings


def test_a_full_disk_stops_new_runs_says_so_everywhere_and_recovers(
    ready: Any, caplog: pytest.LogCaptureFixture
) -> None:
    free = shutil.disk_usage(ready.DATA_DIR).free // MIB
    bound(min_free_mb=free * 2)
    assert dispatch() == 0
    assert get_task("waits").status == Status.PENDING
    assert Run.objects.count() == 0
    assert f"MiB free, less than {free * 2} MiB" in because(ready)
    word, detail = runtime(get_task("waits"))
    assert word == "queued"
    assert because(ready) in detail
    assert "no new runs are started" in caplog.text
    entry = LogEntry.objects.get()
    assert entry.level == Level.WARN
    assert because(ready) in entry.message
    # Looked at again it says nothing more.
    assert dispatch() == 0
    assert LogEntry.objects.count() == 1

    bound(min_free_mb=1)
    assert dispatch() == 1
    assert because(ready) == ""
    assert LogEntry.objects.filter(message__contains="starts new runs again").exists()


def test_a_spool_that_takes_no_writes_stops_new_runs_and_nothing_fails(ready: Any) -> None:
    ready.RUNS_DIR.write_text("a file where the directory should be")
    assert dispatch() == 0
    assert f"{ready.RUNS_DIR} cannot be written (File exists)" in because(ready)
    word, detail = runtime(get_task("waits"))
    assert (word, because(ready) in detail) == ("queued", True)
    with pytest.raises(SpoolNotWritable, match="Not a directory"):
        services.submit(services.NewTask(id="refused", type="testing", description="d"))
    services.cancel("waits")
    with pytest.raises(SpoolNotWritable):
        services.retry("waits")
    # Where another host may run it, it waits for that one.
    services.report_host("another", slots=1, pid=1, started_at=timezone.now(), agents={})
    services.submit(services.NewTask(id="taken", type="testing", description="d"))

    ready.RUNS_DIR.unlink()
    assert dispatch() == 1
    assert because(ready) == ""


def test_a_paused_host_wants_more_than_the_bound_before_it_goes_on(ready: Any) -> None:
    free = shutil.disk_usage(ready.DATA_DIR).free // MIB
    bound(min_free_mb=free * 2)
    assert not may_start_runs()
    bound(min_free_mb=round(free * 0.95))  # above the bound, not a tenth above it
    assert not may_start_runs()
    assert because(ready)
    bound(min_free_mb=round(free * 0.85))
    assert may_start_runs()
    bound(min_free_mb=round(free * 0.95))  # it does not waver: this is no reason to stop
    assert may_start_runs()


def test_a_claim_of_a_paused_host_gets_nothing_whoever_makes_it(ready: Any) -> None:
    services.pause_host(ready.HOSTNAME, "its disk is full.")
    assert services.claim(ready.HOSTNAME, 4) == []
    services.resume_host(ready.HOSTNAME)
    assert len(services.claim(ready.HOSTNAME, 4)) == 1


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="there is no second file system to look at")
def test_the_file_system_of_the_spool_counts_as_well(ready: Any, tmp_path: Path) -> None:
    other = Path("/dev/shm") / f"oc-spool-{os.getpid()}"
    other.mkdir()
    try:
        ready.RUNS_DIR = other
        here, there = (shutil.disk_usage(place).free // MIB for place in (ready.DATA_DIR, other))
        if here == there:
            pytest.skip("both are the same file system")
        bound(min_free_mb=(here + there) // 2)
        assert not may_start_runs()
        assert str(ready.DATA_DIR if here < there else other) in because(ready)
    finally:
        other.rmdir()
