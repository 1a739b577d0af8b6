"""The log files of the server's processes, kept below a size."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MAX_BYTES = 10 * 1024 * 1024
"""A log above this size is moved to `<name>.log.1`, which is the only old one that is kept."""
_TAIL_BYTES = 4096


class LogFile:
    """Appended to by a process that lives longer than one file's worth of lines."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self) -> int:
        """A descriptor that appends, to be given to a child and then closed."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def rotate(self) -> bool:
        """Moves a log that has grown too long aside; returns whether it did.

        The content is copied and the file emptied, since processes hold it open. Accepted: lines written in
        the milliseconds between the two are lost.
        """
        try:
            if self.path.stat().st_size <= MAX_BYTES:
                return False
        except FileNotFoundError:
            return False
        shutil.copyfile(self.path, old := self.path.with_name(f"{self.path.name}.1"))
        old.chmod(0o600)
        os.truncate(self.path, 0)
        return True

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def last_line(self, *, since: int) -> str:
        """The last line with text that was written after the size was `since`; empty if there is none."""
        with open(self.path, "rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(since if since <= end else 0, end - _TAIL_BYTES))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line), "")
