"""Database work of the connections, off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from django.db import close_old_connections

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 8
"""Each holds a database connection; a handful of slow queries may not stop everybody else's."""

# asgiref would give every connection the same one thread: a slow query of one client would hold up all.
_threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="database")


async def in_database(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs blocking work in a thread whose database connection stays open from call to call."""
    call = partial(work, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_threads, _with_sound_connection, call)


def _with_sound_connection(call: Callable[[], T]) -> T:
    # With CONN_MAX_AGE None this closes nothing but a connection that broke.
    close_old_connections()
    return call()
