"""Tests of ours, once more under other conditions."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.server import ROOT


def run_again(*what: str, timeout: float, **environment: str) -> None:
    """Runs pytest with these arguments in a process of its own; fails with its last words."""
    # Its turns are its own: here one is taken already, and somebody else may wait for its end.
    inherited = {name: value for name, value in os.environ.items() if name != "TESTS_SHARED_DIR"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--show-capture=no", *what],
        cwd=ROOT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
