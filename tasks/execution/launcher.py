"""Starts claimed runs on this host: a spool directory, and in it a detached supervisor with the agent."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from django.conf import settings

from monitoring.about import about
from tasks import services
from tasks.agents import AGENTS
from tasks.agents.base import Job
from tasks.errors import LostRace, OutsideAllowedRoots, WorkingDirMissing
from tasks.execution import supervisor
from tasks.execution.disk import may_start_runs
from tasks.execution.first_start import ensure_started_once
from tasks.execution.surroundings import agent_environment
from tasks.failures import FailureReason, explain
from tasks.models import MAX_TIMEOUT_MS, Priority, Run
from tasks.paths import make_spool, resolve_working_dir

logger = logging.getLogger(__name__)

SUPERVISOR = Path(supervisor.__file__)
SCRATCH = "scratch"
"""The agent's throw-away files, in the spool directory until the run has ended."""
HANDSHAKE_TIMEOUT = 20.0
"""Seconds for the supervisor to detach; it takes about 0.03 s on an idle machine."""


class CannotLaunch(Exception):
    """The run cannot be started here, and trying again at once would not help."""

    def __init__(self, reason: FailureReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def run_dir(run: Run) -> Path:
    """The spool directory of a run on its host."""
    return Path(settings.RUNS_DIR) / str(run.pk)


def make_run_dir(run: Run) -> Path:
    """The same, and it is there. Raises `OSError`."""
    directory = run_dir(run)
    make_spool()
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory


def dispatch() -> int:
    """Claims ready tasks for this host's free slots and starts them; returns how many.

    None while the disks are too full or take no writes.
    """
    if not may_start_runs():
        return 0
    runs = services.claim(settings.HOSTNAME, settings.MAX_CONCURRENT_AGENTS)
    for run in runs:
        launch(run)
    return len(runs)


def launch(run: Run) -> None:
    """Starts a run's agent; a run that cannot be started ends as failed with the reason.

    May be called again for a run whose launch was interrupted: the supervisor's lock and its `started` marker
    let an agent be started once.
    """
    with about(run.task_id, run.pk):
        try:
            _spawn(_prepare(run))
        except CannotLaunch as problem:
            logger.warning("the run was not started: %s", problem.detail)
            try:
                services.refuse(run, problem.reason, problem.detail)
            except LostRace:
                logger.info("the run had ended already")


def agents_found() -> dict[str, str | None]:
    """Each agent's name with its executable on this host, None where it is not installed."""
    found: dict[str, str | None] = {}
    for name, agent in AGENTS.items():
        path = agent.find(configured=settings.OPENCODE_BIN, search_path=os.environ.get("PATH", os.defpath))
        found[name] = str(path) if path else None
    return found


def make_agents_ready() -> None:
    """Makes the first start of each agent that is installed here, so that no run has to wait for it."""
    environment = agent_environment(os.environ, extra=tuple(settings.AGENT_ENVIRONMENT))
    for name, executable in agents_found().items():
        if executable is not None:
            ensure_started_once(AGENTS[name], Path(executable), environment)


def _prepare(run: Run) -> Path:
    task = run.task
    agent = AGENTS[run.agent]
    executable = agents_found()[run.agent]
    if executable is None:
        raise CannotLaunch(FailureReason.NOT_INSTALLED, explain(FailureReason.NOT_INSTALLED))
    try:
        working_dir = resolve_working_dir(task.working_dir)
    except (OutsideAllowedRoots, WorkingDirMissing) as problem:
        raise CannotLaunch(FailureReason.WORKING_DIR, problem.message) from problem
    job = Job(
        task_id=task.pk,
        run_id=str(run.pk),
        description=task.description,
        files_pattern=task.files_pattern,
        working_dir=working_dir,
        scratch=run_dir(run) / SCRATCH,
        model=run.model or settings.OPENCODE_MODEL,
        type=task.type,
        priority=Priority(task.priority).label,
    )
    start = agent.launch(job, executable=Path(executable))
    environment = agent_environment(os.environ, extra=tuple(settings.AGENT_ENVIRONMENT))
    ensure_started_once(agent, Path(executable), environment)
    orders = {
        "run_id": str(run.pk),
        "task_id": task.pk,
        "argv": list(start.argv),
        "env": {**environment, **start.env},
        "cwd": str(working_dir),
        "timeout_seconds": (task.timeout_ms or MAX_TIMEOUT_MS) / 1000,
        "grace_seconds": settings.KILL_GRACE,
    }
    return _write_spool(run, orders, start.stdin)


def _write_spool(run: Run, orders: dict[str, Any], prompt: str) -> Path:
    try:
        directory = make_run_dir(run)
        (directory / SCRATCH).mkdir(mode=0o700, exist_ok=True)
        _write_private(directory / supervisor.PROMPT, prompt.encode("utf-8", "replace"))
        supervisor.write_json(directory / supervisor.LAUNCH, orders)
    except OSError as error:
        raise CannotLaunch(
            FailureReason.LAUNCH_FAILED,
            f"The spool directory {run_dir(run)} cannot be written: {error.strerror}.",
        ) from error
    return directory


def _write_private(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)


def _spawn(directory: Path) -> None:
    command = [sys.executable, "-I", "-S", str(SUPERVISOR), str(directory)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=HANDSHAKE_TIMEOUT,
            check=False,
            start_new_session=True,
            env={"LANG": "C.UTF-8"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotLaunch(
            FailureReason.LAUNCH_FAILED, f"The run's supervisor did not start: {error}."
        ) from error
    if done.returncode not in (0, supervisor.ALREADY_SUPERVISED, supervisor.ALREADY_STARTED):
        said = done.stderr.decode("utf-8", "replace").strip()[-1000:]
        raise CannotLaunch(FailureReason.LAUNCH_FAILED, f"The run's supervisor did not start: {said}")
