"""`serve.json` in the data directory: what runs, for operators and for the next start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.execution import supervisor

GRACE = 5.0
"""Seconds that processes of a server that is gone are given to end."""


class StatusFile:
    """Says which processes belong to the server that holds the data directory; readable by its user only."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / "serve.json"

    def write(self, facts: Mapping[str, Any]) -> None:
        """Replaces the file at once, so that a reader never sees half of it."""
        supervisor.write_json(self.path, dict(facts))

    def is_ready(self) -> bool:
        """Whether the server has said that it is."""
        facts = supervisor.read_json(self.path) or {}
        return bool(facts.get("ready"))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def end_leftovers(self) -> list[int]:
        """Ends what a server that was killed has left behind; returns the pids.

        Only to be called by the holder of the data directory. A pid that was given to another process in the
        meantime is left alone, since its identity is another one.
        """
        facts = supervisor.read_json(self.path) or {}
        left = [
            (child["pid"], child["identity"])
            for child in facts.get("children", {}).values()
            if child["identity"] == supervisor.identity(child["pid"])
        ]
        if left:
            supervisor.end_processes(left, GRACE)
        self.remove()
        return [pid for pid, _ in left]
