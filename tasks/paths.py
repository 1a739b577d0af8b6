"""Where agents may work, and where their output is written first."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from django.conf import settings

from tasks.errors import OutsideAllowedRoots, WorkingDirMissing


def resolve_working_dir(wanted: str | None) -> Path:
    """The real directory behind `wanted` (the project directory when empty), symbolic links resolved.

    Raises `OutsideAllowedRoots` or `WorkingDirMissing`. Called at submission and again when a run starts,
    because a link may have been turned elsewhere in between.
    """
    path = Path(wanted) if wanted else settings.PROJECT_DIR
    if not path.is_absolute():
        path = settings.PROJECT_DIR / path
    try:
        real = path.resolve()
        inside = any(real.is_relative_to(root.resolve()) for root in settings.ALLOWED_ROOTS)
    except (OSError, RuntimeError, ValueError) as error:
        raise WorkingDirMissing(str(path), str(error)) from error
    if not inside:
        raise OutsideAllowedRoots(str(path))
    if not real.is_dir():
        raise WorkingDirMissing(str(path), "is not a directory" if real.exists() else "does not exist")
    if not os.access(real, os.R_OK | os.X_OK):
        raise WorkingDirMissing(str(path), "cannot be entered by the server's user")
    return real


def make_spool() -> None:
    """Makes this machine's spool directory, for nobody else to read, if it is not there. Raises `OSError`."""
    settings.RUNS_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)


def try_spool() -> None:
    """Writes to this machine's spool directory as a run would. Raises `OSError`."""
    with tempfile.TemporaryFile(dir=settings.RUNS_DIR, buffering=0) as probe:
        probe.write(bytes(4096))
