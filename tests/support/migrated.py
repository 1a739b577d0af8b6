"""A database as an installation has it that was started before: every table, and the administrator."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

from tests.isolation import SHARED_DIR
from tests.support.installation import Installation

ADMIN_PASSWORD = "correct horse battery staple"
DIRECTORY = SHARED_DIR / "migrated"
"""The first worker that needs it makes it."""


def install_database(data_dir: Path) -> None:
    """Puts the SQLite file into a data directory, which is made where it is missing."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copy(_migrated(), data_dir / "db.sqlite3")


def _migrated() -> Path:
    DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    complete = DIRECTORY / "complete"
    with (DIRECTORY / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            installation = Installation(DIRECTORY, {"DJANGO_SUPERUSER_PASSWORD": ADMIN_PASSWORD})
            installation.manage("migrate", "--verbosity", "0")
            installation.manage("createsuperuser", "--no-input", "--username", "admin", "--email", "")
            complete.touch()
    return DIRECTORY / "db.sqlite3"
