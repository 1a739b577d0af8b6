"""The numbers of rows that a database keeps by itself are right, whoever writes and however."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import ROOT


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_agree_with_what_is_there(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "opencode_site.settings",
        "OPENCODE_DATA_DIR": str(tmp_path / "var"),
    }
    environment.pop("DATABASE_URL", None)
    if engine == "postgresql":
        environment["DATABASE_URL"] = request.getfixturevalue("postgres_url")
    command = [sys.executable, "-m", "tests.support.counting"]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout)
    # However many tasks: two for each type and priority of theirs.
    assert found.pop("rows of a change of many") <= [6]
    assert found.pop("rows of counts") == [2, 5]
    assert {moment: kept for moment, (kept, _) in found.items()} == {
        moment: there for moment, (_, there) in found.items()
    }
    assert found["written by several at once: LogEntry"][1] == [["info", 7 + 4 * 30 * 3]]
    assert found["emptied: Task"] == [[], []]
