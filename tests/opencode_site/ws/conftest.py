"""One really started server for the tests of the protocol, with an agent that does nothing for long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import agent
from tests.support.client import Client
from tests.support.server import Server


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {"OPENCODE_BIN": str(Path(agent.__file__)), "OPENCODE_KILLS_PER_MINUTE": "0"}
    with Server(tmp_path_factory.mktemp("protocol"), **environment) as started:
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.connect() as connected:
        yield connected
