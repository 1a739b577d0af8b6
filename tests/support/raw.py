"""A WebSocket client that does what no library would: reads nothing, stays silent, or sends what it likes."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Self

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
GREETED = b"connection_established"


class RawClient:
    """A socket after its handshake. It reads when told to, and answers neither pings nor closes."""

    def __init__(
        self, port: int, *, receive_buffer: int = 4096, tls: ssl.SSLContext | None = None, headers: str = ""
    ) -> None:
        self.socket = socket.socket()
        # Set before connecting, and small: what the server sends stays with the server.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(20)
        self.socket.connect(("127.0.0.1", port))
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="127.0.0.1")
        key = base64.b64encode(bytes(16)).decode()
        self.socket.sendall(
            f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n".encode()
        )
        self._buffer = b""
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        self._buffer = self._buffer.partition(b"\r\n\r\n")[2]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, payload: bytes, opcode: int = TEXT) -> None:
        self.socket.sendall(frame(payload, opcode))

    def frames(self, *, patience: float = 20.0) -> Iterator[tuple[int, bytes]]:
        """Opcode and payload of what comes, until the connection is at its end or nothing comes any more."""
        self.socket.settimeout(patience)
        with contextlib.suppress(OSError):
            while True:
                head = self._take(2)
                length = head[1] & 0x7F
                if length == 126:
                    (length,) = struct.unpack("!H", self._take(2))
                elif length == 127:
                    (length,) = struct.unpack("!Q", self._take(8))
                yield head[0] & 0x0F, self._take(length)

    def _more(self) -> None:
        chunk = self.socket.recv(1 << 20)
        if not chunk:
            raise ConnectionResetError(f"closed by the server after {self._buffer[:200]!r}")
        self._buffer += chunk

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more()
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """A client's frame, masked with zeros."""
    length = len(payload)
    if length < 126:
        size = bytes([0x80 | length])
    elif length < 1 << 16:
        size = bytes([0x80 | 126]) + struct.pack("!H", length)
    else:
        size = bytes([0x80 | 127]) + struct.pack("!Q", length)
    return bytes([0x80 | opcode]) + size + bytes(4) + payload


def close_code(payload: bytes) -> int:
    """The code in a close frame."""
    code: int = struct.unpack("!H", payload[:2])[0]
    return code
