"""Really started servers, each on a port and a data directory of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.opencode_site.serve.served import Serve, short_directory


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with short_directory() as path:
        yield path


@pytest.fixture
def serve(data_dir: Path) -> Iterator[Callable[..., Serve]]:
    """Starts a server on the test's data directory; every one is ended with the test."""
    started: list[Serve] = []

    def start(*arguments: str, **environment: str) -> Serve:
        started.append(Serve(data_dir, *arguments, **environment))
        return started[-1]

    yield start
    for one in started:
        one.clean_up()


@pytest.fixture(scope="module")
def running() -> Iterator[Serve]:
    """A server that several tests look at and none changes."""
    with short_directory() as path:
        server = Serve(path)
        try:
            yield server.until_ready()
        finally:
            server.clean_up()
