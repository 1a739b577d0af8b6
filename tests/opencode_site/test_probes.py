"""`/healthz` and `/readyz` of really running servers."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.opencode_site.serve.served import Serve, short_directory
from tests.support.stack import Stack
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def server() -> Iterator[Serve]:
    with short_directory() as path:
        started = Serve(path)
        try:
            yield started.until_ready()
        finally:
            started.clean_up()


def ask(port: int, path: str, *, host: str = "localhost", method: str = "GET") -> tuple[int, Any]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request(method, path, headers={"Host": host})
        response = connection.getresponse()
        text = response.read().decode()
    return response.status, json.loads(text) if text.startswith("{") else text


def test_is_ready_when_every_part_is(server: Serve) -> None:
    assert ask(server.port, "/healthz") == (200, {"status": "ok"})
    # The first sample comes with the first turn of the schedule.
    eventually("it is ready", lambda: ask(server.port, "/readyz")[0] == 200)
    _, told = ask(server.port, "/readyz")
    assert told["status"] == "ok"
    assert {name for name, part in told["parts"].items() if part["ok"]} == {
        *("database", "worker", "beat", "broker")
    }
    assert "every 5 s is due" in told["parts"]["beat"]["why"]


def test_answers_nobody_who_names_another_host(server: Serve) -> None:
    assert ask(server.port, "/readyz", host="rebound.example")[0] == 400


def test_refuses_other_methods_and_sends_no_body_for_head(server: Serve) -> None:
    assert ask(server.port, "/readyz", method="POST")[0] == 405
    assert ask(server.port, "/healthz", method="HEAD") == (200, "")


def test_tells_which_part_is_away_within_bounded_time() -> None:
    with Stack() as stack:
        (port,) = stack.ports
        status, told = ask(port, "/readyz")
        assert status == 503
        assert told["parts"]["worker"] == {"ok": False, "why": "no worker has ever reported"}
        assert not told["parts"]["beat"]["ok"]
        assert told["parts"]["database"]["ok"]
        assert told["parts"]["broker"]["ok"]
        assert stack.broker is not None
        os.kill(stack.broker.pid, signal.SIGSTOP)  # it accepts connections and says nothing
        began = time.monotonic()
        status, told = ask(port, "/readyz")
        assert time.monotonic() - began < 5
        assert not told["parts"]["broker"]["ok"]
        assert told["parts"]["database"]["ok"]
        assert ask(port, "/healthz")[0] == 200
        stack.kill_broker()
        assert "does not answer" in ask(port, "/readyz")[1]["parts"]["broker"]["why"]
        stack.query("ALTER TABLE tasks_host RENAME TO tasks_gone")
        database = ask(port, "/readyz")[1]["parts"]["database"]
        assert not database["ok"]
        assert "tasks_host" in database["why"]


def test_tells_strangers_no_details_when_it_asks_who_they_are() -> None:
    with Stack(OPENCODE_AUTH="true") as stack:
        assert ask(stack.ports[0], "/healthz") == (200, {"status": "ok"})
        assert ask(stack.ports[0], "/readyz") == (503, {"status": "unavailable"})
