"""Which task and run the server's own log lines are about."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_about: ContextVar[tuple[str, str]] = ContextVar("about", default=("", ""))


@contextmanager
def about(task: str, run: object = "") -> Iterator[None]:
    """Whatever is logged within, by whomever, is about this task and run."""
    token = _about.set((task, str(run)))
    try:
        yield
    finally:
        _about.reset(token)


class AboutFilter(logging.Filter):
    """Gives each record its `task` and `run`, None where it is about none, and `about` for people."""

    def filter(self, record: logging.LogRecord) -> bool:
        task, run = _about.get()
        record.task, record.run = task or None, run or None
        words = [f"{name} {value}" for name, value in (("task", task), ("run", run)) if value]
        record.about = f" [{', '.join(words)}]" if words else ""
        return True
