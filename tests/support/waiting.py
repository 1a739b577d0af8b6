"""Waits for what another process or thread brings about."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

PATIENCE = 60.0


def eventually(what: str, done: Callable[[], Any], *, patience: float = PATIENCE) -> Any:
    """The first true answer of `done`."""
    deadline = time.monotonic() + patience
    while not (answer := done()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {patience} s: {what}")
        time.sleep(0.02)
    return answer
