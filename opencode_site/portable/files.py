"""Files that only their owner may read, put in place as a whole."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_beside(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """A new file (mode 0600) in the target's directory that becomes the target when the block ends well.

    Raises `FileExistsError` before anything is written and also if the target came meanwhile, and `OSError`.
    """
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists; --force replaces it")
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(descriptor)
    part = Path(name)
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        if overwrite:
            part.replace(target)
        else:
            os.link(part, target)
    finally:
        part.unlink(missing_ok=True)
    sync_directory(target.parent)


def sync_directory(path: Path) -> None:
    """Makes the names in a directory survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
