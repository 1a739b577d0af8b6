"""How much memory a process keeps."""

from __future__ import annotations

from pathlib import Path


def own_memory(pid: int) -> int:
    """Resident bytes of a process's own data: `RssAnon` of proc_pid_status(5).

    Without the program and the libraries that it has mapped: the kernel may take those from a process that
    waits, and gives them back page by page, which looks as if the process were growing.
    """
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has ended")
