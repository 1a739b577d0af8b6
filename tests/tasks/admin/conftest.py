"""People who use the admin, over HTTP, and rows for them to look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from monitoring.models import ResourceSample
from processes.models import SeenAgent
from tests.support.samples import sample


@pytest.fixture
def staff(db: None) -> Callable[..., Client]:
    """Somebody of the staff with just these permissions."""

    def log_in(*permissions: str) -> Client:
        name = f"user{User.objects.count()}"
        user = User.objects.create_user(name, password="secret", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client = Client()
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def boss(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("boss", password="secret"))
    return client


def form(task_id: str, **values: Any) -> dict[str, Any]:
    """What a person who fills in the form of a task sends."""
    return {
        "id": task_id,
        "type": "testing",
        "priority": "1",
        "description": "Run the tests",
        "agent": "opencode",
        "max_retries": "0",
        **values,
    }


def sampled(**values: Any) -> ResourceSample:
    """A stored sample of just now."""
    stored = sample(timezone.now(), **values)
    stored.save()
    return stored


def seen_agent(**values: Any) -> SeenAgent:
    """An agent in the account."""
    numbers = {"pid": 1, "create_time": 1.0, "memory_rss": 1, "memory_percent": 0.1, "cpu_percent": 0.1}
    words = {"host": "elsewhere", "kind": "opencode", "name": "x", "cmdline": "x", "status": "s"}
    return SeenAgent.objects.create(**{**numbers, **words, **values})
