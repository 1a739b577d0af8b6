"""Marks the tests that start programs, so that the others can be run by themselves: `make fast`.

A module starts programs when it names what does: a server, a stack, a database's cluster, or any process.
"""

from __future__ import annotations

import pytest

STARTERS = {"Server", "Stack", "Cluster", "subprocess"}


# Before pytest selects by marks.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Adds the mark `starts`."""
    for item in items:
        if isinstance(item, pytest.Function) and STARTERS & vars(item.module).keys():
            item.add_marker("starts")
