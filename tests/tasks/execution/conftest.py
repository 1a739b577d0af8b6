"""Runs with a spool directory, as the launcher leaves them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from tasks import services
from tasks.execution import supervisor
from tasks.execution.follower import Followed
from tasks.execution.launcher import run_dir
from tasks.models import Run

Spooled = Callable[..., Followed]


@pytest.fixture
def spooled(db: None, settings: Any, tmp_path: Path) -> Spooled:
    """Makes a claimed run of this host with the files given in its spool directory."""
    settings.RUNS_DIR = tmp_path / "runs"

    def make(task_id: str = "a", **files: Any) -> Followed:
        services.report_host(settings.HOSTNAME, slots=4, pid=1, started_at=timezone.now(), agents={})
        services.submit(services.NewTask(id=task_id, type="testing", description="d"))
        (run,) = services.claim(settings.HOSTNAME, 100)
        directory = run_dir(run)
        directory.mkdir(parents=True, mode=0o700)
        for name, content in files.items():
            path = directory / name.replace("_json", ".json")
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return Followed(Run.objects.select_related("task").get(pk=run.pk))

    return make


def agent_record(age: float = 0.0) -> dict[str, Any]:
    """What a supervisor notes when its agent has started, `age` seconds ago."""
    return {"pid": 1, "identity": "gone:1", "started_at": time.time() - age}


def stop_order(followed: Followed) -> str | None:
    """Why the run's supervisor was asked to end it."""
    order = supervisor.read_json(followed.directory / supervisor.STOP)
    return None if order is None else str(order["reason"])
