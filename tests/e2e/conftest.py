"""The whole system for end-to-end tests: a model server, a real agent, a really started server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.model_server import ModelServer, opencode_env
from tests.support.server import Server, free_port


@pytest.fixture(scope="module")
def model_server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


def with_dead_provider(config: str) -> str:
    """The scripted models' configuration with a second provider `down`, at a port where nobody listens."""
    content = json.loads(config)
    down = json.loads(json.dumps(content["provider"]["stub"]))
    down["options"]["baseURL"] = f"http://127.0.0.1:{free_port()}/v1"
    content["provider"]["down"] = down
    return json.dumps(content)


@pytest.fixture(scope="module")
def server(
    opencode_binary: Path, model_server: ModelServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("served")
    surroundings = opencode_env(model_server, directory / "home")
    environment = {
        **surroundings,
        "OPENCODE_CONFIG_CONTENT": with_dead_provider(surroundings["OPENCODE_CONFIG_CONTENT"]),
        "OPENCODE_BIN": str(opencode_binary),
        "OPENCODE_MAX_CONCURRENT_AGENTS": "4",
        "OPENCODE_KILL_GRACE": "2",
    }
    with Server(directory, **environment) as started:
        yield started
