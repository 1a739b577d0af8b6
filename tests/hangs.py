"""Lets no test hang in its clean-up after it has failed, where pytest-timeout has switched its alarm off.

A browser or a server that does not answer hangs whoever waits for it, and then whoever wants to close it.
"""

from __future__ import annotations

import signal
from collections.abc import Generator
from types import FrameType

import pytest

CLEAN_UP = 60.0
"""Seconds for each fixture of a test that has failed."""


def _ring(signum: int, frame: FrameType | None) -> None:
    pytest.fail(f"The clean-up hung for {CLEAN_UP:g} seconds.")


# Around all fixtures.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """Sets an alarm where there is none; it rings again and again, once for each fixture that hangs."""
    if signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
        return (yield)
    signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, CLEAN_UP, CLEAN_UP)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
