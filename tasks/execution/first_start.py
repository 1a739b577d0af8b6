"""Lets a newly installed agent start once alone, before several of it start side by side."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from django.conf import settings

from tasks.agents.base import Agent, Launch

logger = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds for an agent's first start; opencode 1.18.33 takes 0.8 s on an idle machine."""


def ensure_started_once(agent: Agent, executable: Path, environment: Mapping[str, str]) -> None:
    """Runs the agent's `first_start` unless this executable has done it in these surroundings.

    Callers of all processes wait for one another. A first start that fails is logged and not repeated: the
    run that comes next fails by itself if there is a reason to, and then with the agent's own words.
    """
    first = agent.first_start(executable)
    if first is None:
        return
    marker = Path(settings.DATA_DIR) / "agents" / f"{agent.name}.json"
    try:
        identity = _identity(executable, environment)
        if _read(marker) == identity:
            return
        marker.parent.mkdir(mode=0o700, exist_ok=True)
        with open(marker.with_suffix(".lock"), "w", opener=_private) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _read(marker) != identity:
                _start(first, {**environment, **first.env}, cwd=marker.parent)
                with open(marker, "w", opener=_private) as file:
                    file.write(identity)
    except OSError as error:
        logger.warning("the first start of %s could not be made: %s", executable, error)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _identity(executable: Path, environment: Mapping[str, str]) -> str:
    """Changes with an upgrade of the agent, and with the place where it keeps its data."""
    status = executable.stat()
    places = {name: value for name, value in environment.items() if name == "HOME" or name.startswith("XDG_")}
    return json.dumps([str(executable), status.st_size, status.st_mtime_ns, places], sort_keys=True)


def _read(marker: Path) -> str:
    try:
        return marker.read_text()
    except OSError:
        return ""


def _start(first: Launch, environment: Mapping[str, str], *, cwd: Path) -> None:
    try:
        done = subprocess.run(
            first.argv,
            env={**environment, "PWD": os.fspath(cwd)},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        logger.warning("the first start of %s took more than %g s and was ended", first.argv[0], PATIENCE)
        return
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()[-1000:]
        logger.warning(
            "the first start of %s failed (exit code %d): %s", first.argv[0], done.returncode, said
        )
