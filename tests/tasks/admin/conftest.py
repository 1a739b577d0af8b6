"""People who use the admin, over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client


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
