"""Keeps the developer's own installation out of the tests, and theirs out of it.

Loaded by `-p` (see pyproject.toml), which is before pytest-django reads the settings: a conftest is too late.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
from pathlib import Path

OURS = ("OPENCODE_", "DJANGO_")
"""Beginnings of the variables that would let the developer's own installation into the tests."""
KEPT = {"OPENCODE_BIN", "OPENCODE_TEST_POSTGRES", "OPENCODE_TEST_DATABASE", "OPENCODE_TEST_WEB_SERVER"}
# Short and directly below the system's own directory: a Unix socket's path may have no more than 103 bytes.
SESSION_DIR = Path(tempfile.mkdtemp(prefix="oc-tests-")).resolve()

# Of all workers of pytest-xdist: they inherit it from the process that starts them, which ends last.
SHARED_DIR = Path(os.environ.setdefault("TESTS_SHARED_DIR", str(SESSION_DIR)))


def _isolate() -> None:
    """Children of the tests inherit it."""
    for name in list(os.environ):
        if name.startswith(OURS) and name not in KEPT:
            del os.environ[name]
    for name in ("DATABASE_URL", "REDIS_URL", "DEBUG"):
        os.environ.pop(name, None)
    if url := os.environ.get("OPENCODE_TEST_DATABASE"):
        os.environ["DATABASE_URL"] = url
    if server := os.environ.get("OPENCODE_TEST_WEB_SERVER"):
        os.environ["OPENCODE_WEB_SERVER"] = server
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "opencode_site.settings",
        "OPENCODE_DATA_DIR": str(SESSION_DIR / "data"),
        "OPENCODE_ENV_FILE": str(SESSION_DIR / "no.env"),
        "SECRET_KEY": secrets.token_urlsafe(50),
    }


def _heed_signals() -> None:
    """A shell starts what it puts into the background with SIGINT and SIGQUIT ignored; so do children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for signum in (signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(signum, signal.SIG_DFL)


def web_server() -> dict[str, str]:
    """The setting of the server that is to be tested, if it is not the usual one."""
    name = "OPENCODE_WEB_SERVER"
    return {name: os.environ[name]} if name in os.environ else {}


_isolate()
_heed_signals()


def pytest_unconfigure() -> None:
    shutil.rmtree(SESSION_DIR, ignore_errors=True)
