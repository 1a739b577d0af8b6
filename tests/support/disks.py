"""A small file system of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(directory: Path, *, kib: int) -> Iterator[None]:
    """A file system of so many KiB at `directory`, which must exist."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={kib}k,mode=700", "tmpfs", str(directory)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted here: it takes root's rights")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def read_only(directory: Path) -> None:
    """Lets nobody write to what is mounted there."""
    subprocess.run(["mount", "-o", "remount,ro", str(directory)], check=True)


def fill(path: Path) -> None:
    """A file that takes all the room that is left."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
