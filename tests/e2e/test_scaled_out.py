"""The same server on PostgreSQL and a Redis of somebody else's, with no change but two variables."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from opencode_site.serve.preflight import valkey_server
from tests.support import agent
from tests.support.again import run_again
from tests.support.server import Server, free_port

pytestmark = pytest.mark.postgres
DOMAIN = ("tests/tasks/test_services.py", "tests/tasks/test_lifecycle.py", "tests/monitoring")
BOTH = "tests/monitoring/test_row_counts.py"
"""Takes each database by itself."""


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """A broker reached over TCP, which `serve` did not start and does not stop."""
    port = free_port()
    command = [str(valkey_server()), "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
    broker = subprocess.Popen([*command, "--dir", str(tmp_path)], stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port, retry=Retry(ExponentialBackoff(cap=0.1), 100)) as client:
            client.ping()
        yield f"redis://127.0.0.1:{port}/11"
    finally:
        broker.kill()
        broker.wait(10)


@pytest.fixture
def server(tmp_path: Path, postgres_url: str, redis_url: str) -> Iterator[Server]:
    environment = {
        "DATABASE_URL": postgres_url,
        "REDIS_URL": redis_url,
        "OPENCODE_BIN": str(Path(agent.__file__)),
    }
    with Server(tmp_path, **environment) as started:
        yield started


def test_runs_a_task_and_survives_its_worker(server: Server) -> None:
    assert not list(server.data_dir.glob("*.sqlite3"))
    assert not (server.data_dir / "valkey.sock").exists()
    with server.connect() as client:
        client.request({"type": "subscribe_to_updates", "channels": ["task_status", "log_entries"]})
        client.start("one", description=json.dumps({"lines": 300, "pause": 0.1}))
        client.wait(lambda message: message["type"] == "log_entry")
        server.kill_child("worker")
        task = client.until_status("one", "completed", "failed", "cancelled")
        assert (task["status"], len(task["runs"])) == ("completed", 1)
        said = [entry["message"] for entry in client.logs("one") if entry["message"].startswith("line ")]
        assert said == [f"line {number}" for number in range(300)]


@pytest.mark.parametrize("tests", DOMAIN)
def test_keeps_the_lifecycle_on_postgresql(postgres_url: str, tests: str) -> None:
    """The tests of the domain, once more, in a process of their own with the other database."""
    run_again(tests, f"--ignore={BOTH}", timeout=250, OPENCODE_TEST_DATABASE=postgres_url)
