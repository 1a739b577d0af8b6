"""A database as an installation has it that was started before: every table, and the administrator."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

from django.conf import settings

from tests.isolation import SESSION_DIR

ADMIN_PASSWORD = "correct horse battery staple"
# The workers of pytest-xdist inherit it from the process that starts them: the first that needs it makes it.
DIRECTORY = Path(os.environ.setdefault("TESTS_MIGRATED", str(SESSION_DIR / "migrated")))


def install_database(data_dir: Path) -> None:
    """Puts the SQLite file into a data directory, which is made where it is missing."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copy(_migrated(), data_dir / "db.sqlite3")


def _migrated() -> Path:
    DIRECTORY.mkdir(mode=0o700, parents=True, exist_ok=True)
    database, complete = DIRECTORY / "db.sqlite3", DIRECTORY / "complete"
    with (DIRECTORY / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            _manage("migrate", "--verbosity", "0")
            _manage("createsuperuser", "--no-input", "--username", "admin", "--email", "")
            complete.touch()
    return database


def _manage(*arguments: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=settings.BASE_DIR,
        env={
            **environment,
            "OPENCODE_DATA_DIR": str(DIRECTORY),
            "DJANGO_SUPERUSER_PASSWORD": ADMIN_PASSWORD,
        },
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=120,
    )
