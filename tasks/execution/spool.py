"""The spool of this host: what of it belongs to nobody any more, and what is more than it may take."""

from __future__ import annotations

import contextlib
import shutil
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from monitoring import upkeep
from tasks.execution import supervisor
from tasks.execution.disk import MIB
from tasks.models import Run, RunState

SPOOL_PATIENCE = 600.0
"""Seconds before a spool directory without a run in the database counts as left behind."""
BLOCK = 512
"""Bytes that `st_blocks` counts in, whatever the file system's own are."""


@dataclass(frozen=True, slots=True)
class Trimmed:
    """Spool directories that have gone, and the bytes that they took on the disk."""

    directories: int = 0
    bytes: int = 0


def spooled() -> set[str]:
    """The ids of the runs that have a spool directory here."""
    try:
        return {path.name for path in settings.RUNS_DIR.iterdir() if _is_uuid(path.name)}
    except FileNotFoundError:
        return set()


def trim_spool(*, dry_run: bool = False) -> Trimmed:
    """Deletes what belongs to no run, and what is more than the operators let it take.

    Of the runs that have ended, those that ended first go first; what they said is in the log. With `dry_run`
    nothing is touched.
    """
    names = spooled()
    left = _left_behind(names)
    sizes = {**_sizes(left), **_too_much(names.difference(left))}
    if not dry_run:
        for name in sizes:
            # Somebody else may be at it as well: the worker, or `manage.py prune`.
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(settings.RUNS_DIR / name)
    return Trimmed(len(sizes), sum(sizes.values()))


def _left_behind(names: set[str]) -> list[str]:
    kept = {str(pk) for pk in Run.objects.filter(pk__in=names).values_list("pk", flat=True)}
    return [name for name in names - kept if _is_over(settings.RUNS_DIR / name)]


def _is_over(directory: Path) -> bool:
    try:
        age = time.time() - directory.stat().st_mtime
    except FileNotFoundError:
        return False  # somebody else has taken it away
    return age > SPOOL_PATIENCE and not supervisor.is_alive(directory)


def _too_much(names: set[str]) -> dict[str, int]:
    """What has to go of these, with its size. Nothing is measured where there is no bound."""
    most = upkeep.current().keep_spool_mb
    if most is None:
        return {}
    sizes, found = _sizes(names), dict[str, int]()
    excess = sum(sizes.values()) - most * MIB
    ended = Run.objects.filter(pk__in=names, state=RunState.ENDED).order_by("ended_at")
    for name in map(str, ended.values_list("pk", flat=True)):
        if excess <= 0:
            break
        if not supervisor.is_alive(settings.RUNS_DIR / name):
            found[name] = sizes[name]
            excess -= sizes[name]
    return found


def _sizes(names: Iterable[str]) -> dict[str, int]:
    return {name: bytes_on_disk(settings.RUNS_DIR / name) for name in names}


def bytes_on_disk(directory: Path) -> int:
    """What lies below a directory takes so much, as the file system counts."""
    taken = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            taken += path.lstat().st_blocks * BLOCK
    return taken


def _is_uuid(name: str) -> bool:
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False
