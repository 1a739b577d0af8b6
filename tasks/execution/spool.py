"""The spool of this host: what of it belongs to nobody any more, and what is more than it may take."""

from __future__ import annotations

import contextlib
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from django.conf import settings

from monitoring import upkeep
from tasks.execution import supervisor
from tasks.models import Run, RunState

SPOOL_PATIENCE = 600.0
"""Seconds before a spool directory without a run in the database counts as left behind."""
MIB = 1 << 20
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
    sizes = {name: _bytes_on_disk(settings.RUNS_DIR / name) for name in spooled()}
    gone = Trimmed()
    for name in chain(_left_behind(sizes), _too_much(sizes)):
        if not dry_run:
            # The worker may be at it as well.
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(settings.RUNS_DIR / name)
        gone = Trimmed(gone.directories + 1, gone.bytes + sizes.pop(name))
    return gone


def _left_behind(names: Iterable[str]) -> list[str]:
    kept = {str(pk) for pk in Run.objects.filter(pk__in=set(names)).values_list("pk", flat=True)}
    return [name for name in names if name not in kept and _is_over(settings.RUNS_DIR / name)]


def _is_over(directory: Path) -> bool:
    return time.time() - directory.stat().st_mtime > SPOOL_PATIENCE and not supervisor.is_alive(directory)


def _too_much(sizes: dict[str, int]) -> Iterator[str]:
    most = upkeep.current().keep_spool_mb
    if most is None:
        return
    ended = Run.objects.filter(pk__in=set(sizes), state=RunState.ENDED).order_by("ended_at")
    for pk in ended.values_list("pk", flat=True):
        if sum(sizes.values()) <= most * MIB:
            return
        if not supervisor.is_alive(settings.RUNS_DIR / str(pk)):
            yield str(pk)


def _bytes_on_disk(directory: Path) -> int:
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
