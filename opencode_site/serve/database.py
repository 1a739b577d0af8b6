"""The database, made ready before anything works with it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.migrations.executor import MigrationExecutor

from opencode_site.serve.preflight import CannotServe


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAccount:
    """The administrator that was made just now. `password` is None if the operator chose it."""

    name: str
    password: str | None


def missing_migrations() -> int:
    """How many migrations the tables lack. Raises a database error."""
    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def migrate() -> int:
    """Brings the tables up to date; returns how many migrations were applied.

    Raises `CannotServe` if the database cannot be reached or is newer than this code can tell.
    """
    try:
        missing = missing_migrations()
        if missing:
            call_command("migrate", interactive=False, verbosity=0)
    except DatabaseError as error:
        raise CannotServe(
            f"the database cannot be used: {' '.join(str(error).split())}; see DATABASE_URL"
        ) from error
    finally:
        connection.close()
    return missing


def create_admin(*, name: str, password: str) -> NewAccount | None:
    """Makes the first administrator; None if there is one. An empty `password` means a random one."""
    users = get_user_model()._default_manager
    try:
        if users.filter(is_superuser=True).exists():
            return None
        chosen = password or secrets.token_urlsafe(12)
        with transaction.atomic():
            users.create_superuser(username=name, email="", password=chosen)
    except IntegrityError:
        return None  # another host has made it in the meantime
    finally:
        connection.close()
    return NewAccount(name=name, password=None if password else chosen)
