"""Nothing of a connection is left when it is over, also without the garbage collector.

A collection stops everybody: of a thousand connections that were left to it, it took 50 to 100 ms (measured).
"""

from __future__ import annotations

import json
import subprocess
import sys

from tests.support.server import ROOT, free_port
from tests.support.stack import Stack


def test_a_connection_that_is_over_leaves_nothing_to_the_garbage_collector() -> None:
    port = str(free_port())
    with Stack(webs=0) as stack:
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.leftovers", port, "20"],
            cwd=ROOT,
            env={**stack.environment, "OPENCODE_PORT": port},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {}
