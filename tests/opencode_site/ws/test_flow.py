"""Slow, silent and hostile clients: bounded memory, told why, cut in time; and an end in order."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.support.client import Client
from tests.support.raw import CLOSE, PING, TEXT, RawClient, close_code, frame
from tests.support.stack import Stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.alone

MB = 1_000_000
SUBSCRIBE = {"type": "subscribe_to_updates", "channels": ["log_entries"]}
KEPT_BY_A_THREAD = 6
"""Descriptors of one database connection or two that are opened late: file, log and index of SQLite."""
PING_REQUEST = json.dumps({"type": "ping"}).encode()


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as started:
        # A process takes some MB for its first batch of updates and keeps them; that is no client's doing.
        with started.connect() as reader:
            reader.request(SUBSCRIBE)
            for _ in range(3):
                record_and_read(started, reader, 1000)
        yield started


@pytest.fixture
def watcher(stack: Stack) -> Iterator[Client]:
    """Somebody else, who must not notice."""
    with stack.connect() as client:
        yield client
        assert client.request({"type": "ping"})["type"] == "pong"


class Peak:
    """The most memory that the web process has while the test goes on, beyond what it had before."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._before = self._most = stack.memory()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            self._most = max(self._most, self._stack.memory())

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def growth(self) -> int:
        return self._most - self._before

    def kept(self) -> int:
        """What the process has more than before. Python gives its arenas back only when they are empty."""
        return self._stack.memory() - self._before


def record_and_read(stack: Stack, reader: Client, count: int) -> None:
    """Records lines, and lets a subscriber read them all."""
    stack.record(count, size=1000)
    for _ in range(count):
        reader.wait(lambda message: message["type"] == "log_entry")


def last_words(raw: RawClient) -> tuple[dict[str, Any], int]:
    """The error that the client was told before it was closed, and the close code."""
    told: dict[str, Any] = {}
    for opcode, payload in raw.frames():
        if opcode == CLOSE:
            return told, close_code(payload)
        if opcode == TEXT:
            told = json.loads(payload)
    raise AssertionError(f"no close came; last: {told}")


def subscribed(stack: Stack) -> RawClient:
    raw = RawClient(stack.ports[0])
    raw.send(json.dumps(SUBSCRIBE).encode())
    for _, payload in raw.frames():
        if json.loads(payload)["type"] == "subscription_confirmed":
            return raw
    raise AssertionError("no confirmation came")


def test_tells_and_cuts_a_subscriber_that_does_not_keep_up(stack: Stack, watcher: Client) -> None:
    watcher.request(SUBSCRIBE)
    with subscribed(stack) as raw:
        # It begins to read as soon as too much waits: earlier it might keep up, later it would be given up.
        for _ in range(2):
            record_and_read(stack, watcher, 1200)
        error, code = last_words(raw)
    assert (error["type"], error["code"], code) == ("error", "SERVER_OVERLOAD", 1013)
    assert isinstance(error["details"], dict)


@pytest.mark.slow
def test_bounds_the_memory_of_subscribers_that_never_read(stack: Stack, watcher: Client) -> None:
    slow = [subscribed(stack) for _ in range(10)]
    with Peak(stack) as peak:
        began = time.monotonic()
        while stack.groups():
            stack.record(3000, size=1000)
            assert time.monotonic() - began < 15, "they were not cut"
    for raw in slow:
        raw.__exit__(None, None, None)
    assert peak.growth < len(slow) * 4 * MB
    eventually("memory is given back", lambda: peak.kept() < len(slow) * 2 * MB)


@pytest.mark.slow
def test_cuts_a_subscriber_that_reads_a_byte_a_second(stack: Stack, watcher: Client) -> None:
    with subscribed(stack) as raw, Peak(stack) as peak:
        began = time.monotonic()
        # Then nobody is in the channel's group any more: the one subscriber was cut.
        while stack.groups():
            stack.record(3000, size=1000)
            raw.socket.recv(1)
            assert time.monotonic() - began < 15, "it was not cut"
            time.sleep(1)
    assert peak.growth < 4 * MB


@pytest.mark.slow
def test_forgets_a_thousand_connections_that_were_opened_and_dropped(stack: Stack, watcher: Client) -> None:
    before = stack.web_process().num_fds()
    with Peak(stack) as peak:
        for number in range(1000):
            with RawClient(stack.ports[0]) as raw:
                if number % 2:
                    # Half a frame: the header promises more than ever comes.
                    raw.socket.sendall(frame(PING_REQUEST)[:-5])
        deadline = time.monotonic() + 15
        while abs(stack.web_process().num_fds() - before) > 5:
            assert time.monotonic() < deadline, "descriptors are left"
            time.sleep(0.05)
    # They came within a second: so much it costs to have them all at once.
    assert peak.growth < 32 * MB


@pytest.mark.slow
def test_cuts_a_client_that_reads_none_of_its_replies(stack: Stack, watcher: Client) -> None:
    with Peak(stack) as peak, RawClient(stack.ports[0]) as raw:
        began = time.monotonic()
        raw.socket.settimeout(1.0)
        with pytest.raises(ConnectionError):
            send_for_ever(raw, frame(PING_REQUEST) * 100, patience=15)
        assert time.monotonic() - began < 15
    assert peak.growth < 4 * MB


@pytest.mark.slow
def test_cuts_a_client_that_reads_none_of_its_pongs(stack: Stack, watcher: Client) -> None:
    """Pongs are sent by the WebSocket library itself, past our own replies."""
    with Peak(stack) as peak, RawClient(stack.ports[0]) as raw:
        raw.socket.settimeout(1.0)
        with pytest.raises(ConnectionError):
            send_for_ever(raw, frame(bytes(125), PING) * 100, patience=15)
    assert peak.growth < 4 * MB


def send_for_ever(raw: RawClient, data: bytes, *, patience: float) -> None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            raw.socket.sendall(data)
        except TimeoutError:
            continue


@pytest.mark.slow
def test_bounds_the_memory_of_a_flood(stack: Stack, watcher: Client) -> None:
    flood = frame(json.dumps({"type": "ping", "padding": "x" * 5000}).encode())
    with Peak(stack) as peak, RawClient(stack.ports[0], receive_buffer=1 << 20) as raw:
        raw.socket.settimeout(60)
        answered: list[int] = []
        reader = threading.Thread(
            target=lambda: answered.append(sum(1 for _ in islice(raw.frames(), 40_001)))
        )
        reader.start()
        for _ in range(400):
            raw.socket.sendall(flood * 100)
        reader.join()
    assert answered == [40_001]
    assert peak.growth < 16 * MB
    eventually("memory is given back", lambda: peak.kept() < 8 * MB)


def test_goes_on_with_a_client_that_reads_slowly_but_steadily(stack: Stack) -> None:
    with stack.socket() as slow:
        slow.send(json.dumps(SUBSCRIBE))
        assert [json.loads(slow.recv())["type"] for _ in range(2)][1] == "subscription_confirmed"
        for _ in range(3):
            stack.record(1000, size=1000)
            for _ in range(1000):
                assert json.loads(slow.recv(timeout=10))["type"] == "log_entry"


@pytest.mark.parametrize("size", [1024 * 1024 + 1, 10_000_000])
def test_closes_with_1009_after_a_frame_that_is_too_large(stack: Stack, watcher: Client, size: int) -> None:
    with Peak(stack) as peak, stack.socket() as client:
        client.recv()
        assert code_after(client, "x" * size) == 1009
    assert peak.growth < 8 * MB


def test_takes_a_frame_of_just_the_limit(stack: Stack) -> None:
    text = json.dumps({"type": "ping", "padding": ""})
    padded = text[:-2] + "x" * (1024 * 1024 - len(text)) + text[-2:]
    with stack.socket() as client:
        client.recv()
        client.send(padded)
        assert json.loads(client.recv(timeout=10))["type"] == "pong"


def test_puts_fragments_together_and_bounds_their_sum(stack: Stack) -> None:
    with stack.socket() as client:
        client.recv()
        client.send(iter(['{"type":', ' "ping"', "}"]))
        assert json.loads(client.recv(timeout=10))["type"] == "pong"
        assert code_after(client, iter(["x" * 500_000] * 3)) == 1009


def test_hears_whoever_comes_after_one_that_left_while_it_was_not_read(stack: Stack) -> None:
    """The next connection gets the same descriptor: what reads the old one must be gone."""
    much = frame(json.dumps({"type": "ping", "padding": "x" * 300_000}).encode())
    for _ in range(5):
        with RawClient(stack.ports[0]) as raw:
            raw.socket.sendall(much + frame((1000).to_bytes(2), CLOSE))
            *_, (opcode, payload) = raw.frames()
            assert (opcode, close_code(payload)) == (CLOSE, 1000)
        with stack.connect() as next_one:
            assert next_one.request({"type": "ping"})["type"] == "pong"


def code_after(client: ClientConnection, data: str | Iterator[str]) -> int:
    """The code with which the server closes after that."""
    with contextlib.suppress(ConnectionClosed):
        client.send(data)
        while True:
            client.recv(timeout=10)
    assert client.protocol.close_rcvd is not None
    return client.protocol.close_rcvd.code


@pytest.mark.slow
def test_tells_and_closes_a_client_that_answers_no_ping() -> None:
    options = ("--ping-interval", "0.5", "--ping-timeout", "1")
    with Stack(options=options) as stack, stack.connect() as alive, RawClient(stack.ports[0]) as silent:
        error, code = last_words(silent)
        assert (error["code"], code) == ("HEARTBEAT_TIMEOUT", 1008)
        assert alive.request({"type": "ping"})["type"] == "pong"


def test_forgets_connections_and_their_groups(stack: Stack) -> None:
    # The threads for the database open their connections one after the other, and keep them.
    visit(stack, times=50)
    descriptors = open_descriptors(stack)
    visit(stack, times=50)
    deadline = time.monotonic() + 10
    while stack.groups() or open_descriptors(stack) > descriptors + KEPT_BY_A_THREAD:
        assert time.monotonic() < deadline, (stack.groups(), open_descriptors(stack), descriptors)


def visit(stack: Stack, *, times: int) -> None:
    for _ in range(times):
        with stack.socket() as client:
            client.send(json.dumps(SUBSCRIBE))
            client.recv()
            client.recv()
            assert stack.groups() == {"updates.log_entries"}


def open_descriptors(stack: Stack) -> int:
    with stack.connect() as client:  # makes sure that earlier ends have been dealt with
        client.request({"type": "ping"})
    count: int = stack.web_process().num_fds()
    return count


def test_closes_with_1001_after_the_replies_in_flight() -> None:
    with Stack() as stack, stack.socket() as client:
        client.recv()
        asked = 30
        for number in range(asked):
            task = {"id": f"t{number}", "type": "testing", "priority": "low", "description": "x"}
            client.send(json.dumps({"type": "start_task", "task": task}))
        first = json.loads(client.recv(timeout=10))
        answers: list[dict[str, Any]] = [first]
        stopped: list[int] = []
        stopper = threading.Thread(target=lambda: stopped.append(stack.stop_web()))
        stopper.start()
        answers.extend(json.loads(text) for text in client)
        stopper.join()
        assert [answer["type"] for answer in answers] == ["task_started"] * asked
        assert client.protocol.close_rcvd is not None
        assert client.protocol.close_rcvd.code == 1001
        assert stopped == [0]
        assert "Traceback" not in stack.log.read_text()


def test_stops_in_time_with_a_client_that_does_not_read() -> None:
    with Stack() as stack, subscribed(stack):
        stack.record(1000, size=1000)
        began = time.monotonic()
        assert stack.stop_web() == 0
        assert time.monotonic() - began < 5


def test_says_in_one_line_that_it_cannot_listen(stack: Stack) -> None:
    with Stack() as second:
        second.stop_web()
        second.ports = stack.ports
        code, said = second.run_web()
    assert code == 1
    assert len(said.splitlines()) == 1
    assert f"cannot listen on 127.0.0.1:{stack.ports[0]}" in said
