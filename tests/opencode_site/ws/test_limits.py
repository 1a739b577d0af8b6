"""Limits: what is over them is told to the second and does nothing; nothing else is touched."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed

from opencode_site.ws.limits import WINDOW_SECONDS, MessageLimit, RateLimited
from tests.support.client import Message
from tests.support.stack import Stack

PING = {"type": "ping"}


def limited(message: Message, *, limit: int, window: int = WINDOW_SECONDS) -> int:
    """Asserts the one shape of a limit's error; returns the seconds to wait."""
    assert (message["type"], message["code"]) == ("error", "RATE_LIMIT_EXCEEDED"), message
    assert message["message"] == "Too many requests. Please wait before retrying."
    details = message["details"]
    assert (details["current_limit"], details["time_window_seconds"]) == (limit, window)
    seconds: int = details["retry_after_seconds"]
    assert type(seconds) is int
    return seconds


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def test_counts_messages_in_a_sliding_window(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    limit = MessageLimit(3)
    for moment in (0, 10, 20.5):
        clock.now = 1000 + moment
        limit.hit()
    with pytest.raises(RateLimited) as refused:
        limit.hit()
    assert refused.value.details["retry_after_seconds"] == 40
    clock.now = 1059.5
    with pytest.raises(RateLimited) as refused:
        limit.hit()
    assert refused.value.details["retry_after_seconds"] == 1
    clock.now = 1060
    limit.hit()
    with pytest.raises(RateLimited) as refused:
        limit.hit()
    assert refused.value.details["retry_after_seconds"] == 10


def test_lifts_a_limit_of_nought() -> None:
    limit = MessageLimit(0)
    for _ in range(1000):
        limit.hit()


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(
        webs=2,
        OPENCODE_MESSAGES_PER_MINUTE="20",
        OPENCODE_TASKS_PER_MINUTE="3",
    ) as started:
        yield started


def test_answers_messages_over_the_limit_and_keeps_the_connection(stack: Stack) -> None:
    with stack.connect() as client:
        began = time.monotonic()
        for _ in range(20):
            assert client.request(PING)["type"] == "pong"
        # What is over the limit is not even looked at, so that it carries no request id back.
        for frame in (json.dumps(PING), "no JSON", b"binary"):
            client.send_text(frame)
            waiting = limited(client.wait(lambda m: m["type"] == "error"), limit=20)
            assert 59 - (time.monotonic() - began) <= waiting <= 60
        with stack.connect(1) as other:
            assert other.request(PING)["type"] == "pong"


def test_counts_new_tasks_over_all_web_processes(stack: Stack) -> None:
    with stack.connect(0) as one, stack.connect(1) as two:
        began = time.monotonic()
        for number, client in enumerate((one, two, one)):
            assert client.start(f"t{number}")["type"] == "task_started"
        for client in (one, two):
            waiting = limited(client.start("t9"), limit=3)
            elapsed = time.monotonic() - began
            assert 59 - elapsed <= waiting <= 60
        unknown = one.request({"type": "get_task_status", "task_id": "t9"})
        assert unknown["code"] == "TASK_NOT_FOUND"


def refused(stack: Stack, number: int) -> bool:
    """Whether a new connection is told and closed as one too many; asserts how."""
    with stack.socket(number) as extra:
        first = json.loads(extra.recv(timeout=10))
        if first["type"] == "connection_established":
            return False
        assert limited(first, limit=3, window=0) > 0
        with pytest.raises(ConnectionClosed) as closed:
            extra.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013
        return True


def until_let_in(stack: Stack, number: int, *, within: float) -> None:
    deadline = time.monotonic() + within
    while refused(stack, number):
        assert time.monotonic() < deadline, "a place did not become free"


def test_refuses_one_connection_too_many_over_all_web_processes() -> None:
    with Stack(webs=2, OPENCODE_MAX_CONNECTIONS="3") as stack:
        with stack.connect(0) as one, stack.connect(1):
            last = stack.connect(0)
            assert refused(stack, 0)
            assert refused(stack, 1)
            assert one.request(PING)["type"] == "pong"
            last.__exit__(None, None, None)
            until_let_in(stack, 1, within=1)
        until_let_in(stack, 0, within=1)
        # A killed process's places are given back as well, soon.
        for _ in range(3):
            stack.keep(stack.connect(0))
        assert refused(stack, 1)
        stack.kill_web(0)
        until_let_in(stack, 1, within=10)


def test_goes_on_without_the_broker_and_limits_each_process_by_itself() -> None:
    with Stack(webs=2, OPENCODE_TASKS_PER_MINUTE="2", OPENCODE_MAX_CONNECTIONS="3") as stack:
        stack.kill_broker()
        with stack.connect(0) as client, stack.connect(0), stack.connect(0):
            assert client.start("a")["type"] == "task_started"
            assert client.start("b")["type"] == "task_started"
            limited(client.start("c"), limit=2)
            assert refused(stack, 0)
        told = [line for line in stack.log.read_text().splitlines() if "the limit of tasks" in line]
        assert len(told) == 1
