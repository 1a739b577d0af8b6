"""Lets a test that is marked `alone` have the machine to itself, whatever other workers of pytest-xdist do.

For tests of what a server does within seconds, or of how much memory it takes at most: they say nothing while
every core is busy with another test.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.isolation import SESSION_DIR

# The workers inherit it from the process that starts them, which ends last and takes it away.
DIRECTORY = Path(os.environ.setdefault("TESTS_TURNS", str(SESSION_DIR)))


@contextmanager
def _turn(*, alone: bool) -> Iterator[None]:
    # Who waits for the room holds the door, so that those who share the room cannot keep it for ever.
    with (DIRECTORY / "door").open("w") as door, (DIRECTORY / "room").open("w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield


# First, so that waiting is no part of a test's time.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Runs each test in its turn."""
    with _turn(alone=item.get_closest_marker("alone") is not None):
        return (yield)
