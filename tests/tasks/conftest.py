"""Tasks, hosts and runs for the tests of the domain."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from tasks import services
from tasks.models import Host, Run, Task

HOST = "builder"


@pytest.fixture
def host(db: None) -> str:
    services.report_host(HOST, slots=4, pid=1, started_at=timezone.now(), agents={})
    return Host.objects.get(pk=HOST).name


@pytest.fixture
def submit(db: None) -> Callable[..., Task]:
    numbers = itertools.count(1)

    def make(task_id: str = "", *needs: str, **values: Any) -> Task:
        new = services.NewTask(
            id=task_id or f"task-{next(numbers)}",
            type=values.pop("type", "testing"),
            description=values.pop("description", "Run the tests"),
            dependencies=needs,
            **values,
        )
        return services.submit(new)

    return make


@pytest.fixture
def claimed(host: str, submit: Callable[..., Task]) -> Callable[..., Run]:
    def make(task_id: str = "", **values: Any) -> Run:
        task = submit(task_id, **values)
        run = next(run for run in services.claim(host, 100) if run.task_id == task.pk)
        return run

    return make
