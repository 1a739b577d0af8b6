"""A client quick enough not to be what is measured: raw sockets, frames made before the clock runs."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import orjson

from tests.support.raw import CLOSE, TEXT, RawClient, frame
from tests.support.server import free_port

PATIENCE = 60.0
"""Seconds without any frame after which a measurement is given up."""


class Broken(Exception):
    """What came is not what should have come: there is nothing to measure."""


class Wire(RawClient):
    """A connection that gives whole texts, many at a time."""

    def __init__(self, port: int) -> None:
        super().__init__(port, receive_buffer=1 << 20)
        self.socket.settimeout(PATIENCE)

    def put(self, message: dict[str, Any]) -> None:
        self.socket.sendall(masked(orjson.dumps(message)))

    def read(self) -> list[bytes]:
        """Waits for bytes and returns the texts that are whole by then. Raises `Broken` at the end."""
        chunk = self.socket.recv(1 << 18)
        if not chunk:
            raise Broken("the server has closed the connection")
        self._buffer += chunk
        return self._whole()

    def _whole(self) -> list[bytes]:
        data, place, size = self._buffer, 0, len(self._buffer)
        texts = []
        while size - place >= 2:
            begin, length = place + 2, data[place + 1] & 0x7F
            if length == 126:
                begin, length = place + 4, int.from_bytes(data[place + 2 : place + 4])
            elif length == 127:
                begin, length = place + 10, int.from_bytes(data[place + 2 : place + 10])
            if begin > size or begin + length > size:
                break
            if data[place] & 0x0F == TEXT:
                texts.append(data[begin : begin + length])
            elif data[place] & 0x0F == CLOSE:
                raise Broken(f"the server has closed the connection: {data[begin + 2 : begin + length]!r}")
            place = begin + length
        self._buffer = data[place:]
        return texts

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first message that is wanted; what comes before it is passed over."""
        # With the answer to the handshake the greeting may have come.
        texts = self._whole()
        while True:
            for text in texts:
                message: dict[str, Any] = orjson.loads(text)
                if wanted(message):
                    return message
            texts = self.read()

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """The reply to a request. Raises `Broken` if it is an error."""
        self.put({**message, "request_id": "asked"})
        reply = self.until(lambda told: told.get("request_id") == "asked")
        if reply["type"] == "error":
            raise Broken(f"{message} was answered with {reply}")
        return reply


def masked(payload: bytes) -> bytes:
    """A client's frame with a mask that changes every byte."""
    mask = b"\xa5\x5a\xc3\x3c"
    plain = frame(payload)
    head = len(plain) - len(payload) - len(mask)
    pattern = (mask * (len(payload) // 4 + 1))[: len(payload)]
    changed = int.from_bytes(payload) ^ int.from_bytes(pattern)
    return plain[:head] + mask + changed.to_bytes(len(payload))


@contextmanager
def wires(port: int, count: int, *, greeted: bool = True) -> Iterator[list[Wire]]:
    """So many connections; `greeted` waits for each one's greeting."""
    with ExitStack() as stack:
        opened = []
        for _ in range(count):
            wire = stack.enter_context(Wire(port))
            if greeted:
                wire.until(lambda message: message["type"] == "connection_established")
            opened.append(wire)
        yield opened


def listen(opened: Sequence[Wire], heard: Callable[[int, list[bytes]], bool]) -> None:
    """Hands what comes to `heard` (the wire's number, its texts) until that returns False."""
    with selectors.DefaultSelector() as selector:
        for number, wire in enumerate(opened):
            selector.register(wire.socket, selectors.EVENT_READ, number)
        while True:
            ready = selector.select(PATIENCE)
            if not ready:
                raise Broken(f"nothing came for {PATIENCE:g} seconds")
            for key, _ in ready:
                if not heard(key.data, opened[key.data].read()):
                    return


@contextmanager
def bare_server(kind: str) -> Iterator[tuple[int, int]]:
    """A baseline's port and pid; `kind` is what `bare.py` knows."""
    port = free_port()
    script = Path(__file__).with_name("bare.py")
    process = subprocess.Popen(
        [sys.executable, str(script), kind, str(port)], env={"PATH": os.environ["PATH"]}
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                Wire(port).socket.close()
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise Broken(f"the bare {kind} server does not answer") from None
                time.sleep(0.02)
            else:
                break
        yield port, process.pid
    finally:
        process.kill()
        process.wait(10)
