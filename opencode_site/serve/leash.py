"""Starts a program that ends when its parent does: `python leash.py PARENT_PID PROGRAM ARGUMENT…`

The kernel sends SIGTERM when the parent dies, however it dies (Linux; a no-op elsewhere, where the next
`serve` ends what was left). The request survives the exec below but is not inherited by what the program
starts: a run's supervisor never hears of it. A `preexec_fn` would do the same between fork and exec, where
Python code may deadlock.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    parent, program = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit("the parent ended first")
    os.execv(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1:])
