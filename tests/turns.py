"""Lets a test that is marked `alone` have the machine to itself, whatever other workers of pytest-xdist do.

For tests of what a server does within seconds, or of how much memory it takes at most: they say nothing while
every core is busy with another test. Such tests of a module run one after another in one turn, since for each
turn all others have to come to an end.
"""

from __future__ import annotations

import fcntl
from collections.abc import Generator
from contextlib import ExitStack

import pytest

from tests.isolation import SHARED_DIR

_turn = ExitStack()
_alone = False


def _alone_is(item: pytest.Item | None) -> bool:
    return item is not None and item.get_closest_marker("alone") is not None


def _take_turn(*, alone: bool) -> None:
    # Who waits for the room holds the door, so that those who share the room cannot keep it for ever.
    with (SHARED_DIR / "door").open("w") as door:
        room = _turn.enter_context((SHARED_DIR / "room").open("w"))
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)


# After pytest-randomly has shuffled them.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the modules that take longest, so that no worker has one of them left at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    place = {path: number for number, path in enumerate(dict.fromkeys(item.path for item in items))}
    items.sort(key=lambda item: (item.path not in slow, place[item.path], _alone_is(item)))


# First, so that waiting is no part of a test's time.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Runs each test in its turn."""
    global _alone
    if not _alone:
        _take_turn(alone=_alone_is(item))
    try:
        return (yield)
    finally:
        _alone = _alone_is(item) and _alone_is(nextitem)
        if not _alone:
            _turn.close()
