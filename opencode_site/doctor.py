"""What `manage.py doctor` looks at: each finding with what was seen and how to mend it."""

from __future__ import annotations

import enum
import os
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.core.checks import ERROR, WARNING, Tags, run_checks
from django.db import Error as AnyDatabaseError
from django.db import connection
from django.utils import timezone

from monitoring import upkeep
from monitoring.models import Upkeep
from opencode_site import supply
from opencode_site.access.reach import CannotServe, is_loopback
from opencode_site.health import look_at_broker, look_at_database
from opencode_site.serve.database import missing_migrations
from opencode_site.serve.preflight import LOCK_FILE
from tasks.execution import supervisor
from tasks.execution.disk import MIB, free_space
from tasks.execution.launcher import agents_found
from tasks.execution.surroundings import agent_environment
from tasks.queue import hosts_alive

VERSION_PATIENCE = 20.0
"""Seconds for an agent to tell its version; opencode takes under one on an idle machine."""
YOUNG = timedelta(seconds=30)
"""Age of a worker in which nothing of the schedule need have been carried out yet."""
START = "Start the server: make serve"


class State(enum.StrEnum):
    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found about one thing; `mend` is empty when all is well."""

    name: str
    state: State
    seen: str
    mend: str = ""


def examine() -> Iterator[Finding]:
    """Every finding, each as soon as it is known."""
    running = supervisor.is_locked(settings.DATA_DIR / LOCK_FILE)
    yield from _supply()
    yield from _agents()
    yield _project()
    database = list(_database(running=running))
    yield from database
    yield from _parts(running=running)
    if all(finding.state != State.ERROR for finding in database):
        yield from _disk()
    yield from _settings()
    yield from _modes()


def _supply() -> Iterator[Finding]:
    lines = supply.differences()
    if lines:
        seen = "; ".join(lines[:5]) + (f"; and {len(lines) - 5} more" if len(lines) > 5 else "")
        mend = "Install what is locked: make clean install"
        yield Finding(name="packages", state=State.ERROR, seen=seen, mend=mend)
    else:
        yield Finding(name="packages", state=State.OK, seen="installed are exactly the locked versions")


def _project() -> Finding:
    directory = Path(settings.PROJECT_DIR)
    if directory.is_dir():
        return Finding(name="project", state=State.OK, seen=str(directory))
    mend = f"Make it (mkdir -p {directory}), or set OPENCODE_PROJECT_DIR to where the agents are to work"
    return Finding(name="project", state=State.ERROR, seen=f"{directory} is no directory", mend=mend)


def _agents() -> Iterator[Finding]:
    for name, path in agents_found().items():
        title = f"agent {name}"
        if path is None:
            mend = "npm install -g opencode-ai, or set OPENCODE_BIN to its executable"
            yield Finding(name=title, state=State.ERROR, seen="not found", mend=mend)
            continue
        said, works = _version(path)
        mend = "" if works else f"Run `{path} --version` by hand; install the agent again if it does not work"
        yield Finding(name=title, state=State.OK if works else State.ERROR, seen=f"{path}: {said}", mend=mend)


def _version(path: str) -> tuple[str, bool]:
    """What the agent says to `--version`, and whether it works."""
    try:
        done = subprocess.run(
            [path, "--version"],
            env=agent_environment(os.environ, extra=tuple(settings.AGENT_ENVIRONMENT)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=VERSION_PATIENCE,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        return f"--version did not answer within {VERSION_PATIENCE:g} s", False
    except OSError as error:
        return f"cannot be run: {error.strerror}", False
    said = (done.stdout or done.stderr).decode("utf-8", "replace").strip()[:200]
    return (
        (said, True) if done.returncode == 0 else (f"--version ended with {done.returncode}: {said}", False)
    )


def _database(*, running: bool) -> Iterator[Finding]:
    try:
        left = missing_migrations()
        journal = _journal_mode()
    except AnyDatabaseError as error:
        seen = " ".join(str(error).split())
        mend = "Check DATABASE_URL, and whether the database server runs"
        yield Finding(name="database", state=State.ERROR, seen=seen, mend=mend)
        return
    finally:
        connection.close()
    if left:
        state = State.ERROR if running else State.WARNING
        mend = "Start the server again; it brings the tables up to date: make serve"
        yield Finding(name="database", state=state, seen=f"{left} migrations are not applied", mend=mend)
    elif journal not in ("", "wal"):
        mend = "Move OPENCODE_DATA_DIR to a local file system: SQLite's WAL needs one"
        yield Finding(name="database", state=State.ERROR, seen=f"its journal mode is {journal}", mend=mend)
    else:
        yield Finding(name="database", state=State.OK, seen=f"{connection.vendor}, all migrations applied")


def _journal_mode() -> str:
    """SQLite's; empty for other databases."""
    if connection.vendor != "sqlite":
        return ""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        return str(cursor.fetchone()[0])


def _parts(*, running: bool) -> Iterator[Finding]:
    """Broker, worker and beat. While no server runs here their silence is no fault, unless the broker is
    somebody else's."""
    if not running:
        yield Finding(name="server", state=State.WARNING, seen="none runs on this data directory", mend=START)
    for part in (*look_at_broker(), *look_at_database()):
        if part.name == "database":
            continue
        broken = running or (part.name == "broker" and not settings.EMBEDDED_BROKER)
        if part.ok:
            yield Finding(name=part.name, state=State.OK, seen=part.why)
        elif broken and part.name == "beat" and _worker_is_young():
            mend = "The worker has just started: look again in half a minute"
            yield Finding(name=part.name, state=State.WARNING, seen=part.why, mend=mend)
        elif broken:
            place = settings.LOGS_DIR / ("valkey.log" if part.name == "broker" else "worker.log")
            mend = (
                f"See {place}; then start the server again" if settings.EMBEDDED_BROKER else "See REDIS_URL"
            )
            yield Finding(name=part.name, state=State.ERROR, seen=part.why, mend=mend)
        else:
            yield Finding(name=part.name, state=State.WARNING, seen=part.why, mend=START)


def _worker_is_young() -> bool:
    oldest = hosts_alive().order_by("started_at").first()
    return oldest is not None and timezone.now() - oldest.started_at < YOUNG


def _disk() -> Iterator[Finding]:
    try:
        bound = upkeep.current().min_free_mb
    except AnyDatabaseError:
        bound = Upkeep().min_free_mb  # the tables are not made yet
    finally:
        connection.close()
    for place, free in free_space():
        seen = f"{place} has {free // MIB} MiB free"
        if free // MIB < bound:
            mend = f"Make room: below {bound} MiB no new runs are started"
            yield Finding(name="disk", state=State.ERROR, seen=seen, mend=mend)
        else:
            yield Finding(name="disk", state=State.OK, seen=seen)


def _settings() -> Iterator[Finding]:
    """Our checks always, Django's for deployment where others can reach the server."""
    try:
        deployed = not is_loopback(settings.HOST)
    except CannotServe:
        deployed = False  # a check tells of it
    found = run_checks(tags=[Tags.security], include_deployment_checks=deployed)
    silenced = settings.SILENCED_SYSTEM_CHECKS
    told = [each for each in found if each.level >= WARNING and each.id not in silenced]
    for each in told:
        state = State.ERROR if each.level >= ERROR else State.WARNING
        seen = " ".join(f"{each.id}: {each.msg}".split())
        yield Finding(name="settings", state=state, seen=seen, mend=each.hint or "See SECURITY.md")
    if not told:
        yield Finding(name="settings", state=State.OK, seen="no unsafe setting")


def _modes() -> Iterator[Finding]:
    """The server's own files; the directory that holds them has a check of its own (opencode.W005)."""
    data: Path = settings.DATA_DIR
    own = [*data.glob("*.sqlite3*"), *data.glob("serve.*"), data / "secret_key", settings.RUNS_DIR]
    own += [settings.LOGS_DIR, *settings.LOGS_DIR.glob("*.log*")]
    open_ones = [path for path in own if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077]
    for path in open_ones:
        mend = f"chmod go-rwx {path}"
        yield Finding(name="files", state=State.WARNING, seen=f"{path} is open to other users", mend=mend)
    if not open_ones:
        yield Finding(name="files", state=State.OK, seen=f"what is in {data} is the server's user's alone")
