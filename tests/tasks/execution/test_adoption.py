"""What becomes of runs that nobody has looked after, and of what they leave on the disk."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from monitoring.models import LogEntry
from opencode_site.serve.agents import stop_all
from tasks import services
from tasks.execution import supervisor
from tasks.execution.adoption import carry_out_stop, end_disowned, examine, still_in_flight
from tasks.execution.follower import Followed, follow_once
from tasks.execution.launcher import SCRATCH, dispatch, run_dir
from tasks.models import Run, RunState
from tasks.selectors import get_task
from tests.support import agent
from tests.support.waiting import eventually
from tests.tasks.execution.conftest import Spooled

HELLO = '{"type": "text", "timestamp": 1, "sessionID": "s", "part": {"text": "hello"}}\n'


def test_loses_a_run_without_supervisor_and_exit_record_after_storing_what_it_wrote(spooled: Spooled) -> None:
    followed = spooled(started="", stdout=HELLO + '{"half')
    (followed.directory / SCRATCH).mkdir()
    assert examine(followed) is False
    assert not (followed.directory / SCRATCH).exists()
    assert (get_task("a").status, get_task("a").failure_reason) == ("failed", "lost")
    assert LogEntry.objects.filter(message="hello").count() == 1


def test_leaves_a_run_to_the_follower_that_has_an_exit_record(spooled: Spooled) -> None:
    followed = spooled(started="", exit_json={"code": 0})
    assert examine(followed) is True
    assert get_task("a").status == "running"


def test_loses_a_run_whose_exit_record_is_damaged(spooled: Spooled) -> None:
    followed = spooled(started="", stdout=HELLO, exit_json='{"code": 0')
    assert examine(followed) is False
    assert get_task("a").failure_reason == "lost"
    assert LogEntry.objects.filter(message="hello").count() == 1


@pytest.fixture
def submitted(db: None, settings: Any, tmp_path: Path) -> None:
    """A task for a real supervisor on this host and an agent that works for half a minute."""
    settings.RUNS_DIR = tmp_path / "runs"
    settings.OPENCODE_BIN = str(Path(agent.__file__))
    settings.KILL_GRACE = 1
    services.report_host(settings.HOSTNAME, slots=1, pid=1, started_at=timezone.now(), agents={})
    orders = json.dumps({"lines": 600, "pause": 0.5, "marker": str(tmp_path / "marker")})
    services.submit(services.NewTask(id="a", type="testing", description=orders))


@pytest.fixture
def working(submitted: None) -> Run:
    """Its run, begun."""
    assert dispatch() == 1
    return Run.objects.get()


@pytest.fixture
def abandoned(submitted: None, settings: Any) -> Run:
    """Its run, as a worker leaves it that was killed as soon as it had claimed it, a minute ago."""
    (run,) = services.claim(settings.HOSTNAME, 1)
    Run.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    run.refresh_from_db()
    return run


def until_gone(run: Run) -> None:
    eventually("its agent ends", lambda: not supervisor.is_alive(run_dir(run)), patience=20.0)


def test_ends_an_agent_whose_run_another_host_has_declared_lost(working: Run) -> None:
    end_disowned()
    assert supervisor.read_json(run_dir(working) / supervisor.STOP) is None
    services.lose(working)
    end_disowned()
    until_gone(working)


def test_sends_a_stop_again_whose_signal_was_never_sent(working: Run) -> None:
    # As a worker leaves it that is killed between writing the order and sending the signal.
    supervisor.write_json(run_dir(working) / supervisor.STOP, {"reason": "cancelled", "force": False})
    services.cancel("a")
    working.refresh_from_db()
    carry_out_stop(working)
    until_gone(working)


def test_cancels_a_run_whose_launch_was_interrupted_before_there_was_a_spool(
    abandoned: Run, tmp_path: Path
) -> None:
    services.cancel("a")
    abandoned.refresh_from_db()
    carry_out_stop(abandoned)
    followed = Followed(abandoned)
    eventually("it ends", lambda: not (still_in_flight(followed) and follow_once(followed)), patience=20.0)
    assert get_task("a").status == "cancelled"
    assert not (tmp_path / "marker").exists()


@pytest.mark.django_db(transaction=True)
def test_stops_a_run_with_all_others_whose_launch_was_interrupted_before_there_was_a_spool(
    abandoned: Run, tmp_path: Path
) -> None:
    with ThreadPoolExecutor() as server:
        assert server.submit(stop_all).result() == 0
    assert get_task("a").status == "cancelled"
    assert not (tmp_path / "marker").exists()


def test_leaves_a_run_alone_that_may_be_just_being_launched(spooled: Spooled) -> None:
    assert examine(spooled()) is True
    assert get_task("a").status == "running"


def test_launches_a_run_again_whose_launch_was_interrupted(spooled: Spooled, settings: Any) -> None:
    settings.OPENCODE_BIN = "/nowhere/opencode"
    followed = spooled()
    Run.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    followed.run.refresh_from_db()
    examine(followed)
    # The launch was tried: what it found is that no agent is installed here.
    assert get_task("a").failure_reason == "not_installed"


def test_loses_a_running_run_whose_spool_directory_is_gone(spooled: Spooled) -> None:
    followed = spooled()
    Run.objects.update(created_at=timezone.now() - timedelta(minutes=1), state=RunState.RUNNING)
    followed.run.refresh_from_db()
    assert examine(followed) is False
    assert get_task("a").failure_reason == "lost"


def test_takes_a_run_that_somebody_else_has_ended_as_ended(spooled: Spooled) -> None:
    followed = spooled(started="")
    services.lose(followed.run)
    assert still_in_flight(followed) is False


def test_fails_a_task_at_once_whose_agent_is_not_installed(db: None, settings: Any, tmp_path: Any) -> None:
    settings.RUNS_DIR, settings.OPENCODE_BIN = tmp_path, "/nowhere/opencode"
    services.report_host(settings.HOSTNAME, slots=1, pid=1, started_at=timezone.now(), agents={})
    services.submit(services.NewTask(id="a", type="testing", description="d"))
    assert dispatch() == 1
    task = get_task("a")
    assert (task.status, task.failure_reason) == ("failed", "not_installed")
    assert "install" in task.error.lower()


def test_fails_a_task_whose_working_directory_has_gone_since(db: None, settings: Any, tmp_path: Any) -> None:
    project = tmp_path / "project"
    project.mkdir()
    settings.RUNS_DIR, settings.PROJECT_DIR, settings.ALLOWED_ROOTS = tmp_path / "runs", project, [project]
    settings.OPENCODE_BIN = "/bin/true"
    services.report_host(settings.HOSTNAME, slots=1, pid=1, started_at=timezone.now(), agents={})
    services.submit(services.NewTask(id="a", type="testing", description="d"))
    project.rename(tmp_path / "elsewhere")
    dispatch()
    assert get_task("a").failure_reason == "working_dir"
