"""An installation of its own: a data directory, and `manage.py` on it as a person would call it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Installation:
    data_dir: Path
    environment: dict[str, str]

    def run(self, *arguments: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        """The ended command, whatever its exit code."""
        own = {"OPENCODE_DATA_DIR": str(self.data_dir), **self.environment, **more}
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=settings.BASE_DIR,
            env={**os.environ, **own},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def manage(self, *arguments: str, stdin: str = "") -> str:
        """What a command that must succeed says on stdout."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
