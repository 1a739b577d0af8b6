"""Whatever dies, at whatever moment: 20 random rounds here, 200 by `make chaos`.

A round that fails tells its seed; `make chaos SEED=… ROUNDS=1` repeats it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.round import Round
from tests.support import agent
from tests.support.server import Server

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "20"))
FIRST = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(1_000_000))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("chaos")
    with Server(directory, OPENCODE_BIN=str(Path(agent.__file__)), OPENCODE_KILL_GRACE="1") as started:
        yield started


@pytest.mark.slow
@pytest.mark.parametrize("number", range(ROUNDS))
def test_keeps_every_promise(server: Server, tmp_path: Path, number: int) -> None:
    Round(server, tmp_path, FIRST + number).run()
