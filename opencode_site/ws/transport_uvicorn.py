"""Uvicorn with the bounds and manners of our Daphne (see `transport`).

Uvicorn's own WebSocket protocols log each connection, stop reading after every message, and know nothing of a
client that does not read. Ours, on the `websockets` library's protocol without sockets, takes their place.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote
from weakref import WeakKeyDictionary

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from opencode_site.access.reach import CannotServe, resolve, tls_context
from opencode_site.ws import patience
from opencode_site.ws.endpoint import LET_ANSWER, Endpoint
from opencode_site.ws.errors import ProtocolError
from opencode_site.ws.flow import READ_BYTES, Message
from opencode_site.ws.flow_asyncio import AsyncioFlow
from opencode_site.ws.frames import LONGEST_HEADER, frame_size, take_texts, text_frame
from opencode_site.ws.origins import DENIAL
from opencode_site.ws.schemas.basic import error_frame

logger = logging.getLogger(__name__)
_library = logger.getChild("frames")
_library.setLevel(logging.WARNING)  # it tells of every connection

HTTP_PATIENCE = 60
"""Seconds for the first request of a connection to be whole."""
OPCODE = 0x0F
"""Of a frame's first byte."""
TICKS = 10
"""Of Uvicorn's main loop in a second."""
_received = bytearray(READ_BYTES)
"""What was read last, of whatever connection: it is taken out before the next read."""


class BoundedWebSocket(asyncio.BufferedProtocol):
    """A WebSocket connection with brakes. Uvicorn makes one for each request to upgrade."""

    def __init__(
        self, config: uvicorn.Config, server_state: Any, app_state: dict[str, Any], _loop: Any = None
    ) -> None:
        self._config = config
        self._connections: set[Any] = server_state.connections
        self._tasks: set[asyncio.Task[None]] = server_state.tasks
        self._frames = ServerProtocol(max_size=patience.MAX_MESSAGE_BYTES, logger=_library)
        self._opened_at = self._heard_at = time.monotonic()
        self._rest = b""
        """The beginning of a frame."""
        self._parts: list[bytes] = []
        """Of a message in fragments."""
        self._is_text = False
        self._pinged_at: float | None = None
        """Since when nothing has been heard after a ping."""
        self._closing: asyncio.TimerHandle | None = None
        """The end of patience with a client that was told goodbye."""

    # The transport's calls

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.Transport = transport
        self.flow = AsyncioFlow(transport)
        self._connections.add(self)
        if isinstance(http := transport.get_protocol(), HttpToolsProtocol):
            # It and its parser hold each other: left to the garbage collector, they would wait for it to stop
            # everybody.
            http.parser = None  # type: ignore[assignment]

    def get_buffer(self, sizehint: int) -> bytearray:
        return _received

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(memoryview(_received)[:nbytes]))

    def data_received(self, data: bytes) -> None:
        self._heard_at, self._pinged_at = time.monotonic(), None
        if self._frames.state is State.CONNECTING:
            self._feed(data)
            return
        data, self._rest = self._rest + data, b""
        while data:
            if not self._parts:
                texts, data = take_texts(data)
                if texts and not self._closing:
                    self.flow.hear(texts)
            size = frame_size(data)
            if size is None or len(data) < min(size, patience.MAX_MESSAGE_BYTES + LONGEST_HEADER):
                self._rest = data
                return
            if data[0] & OPCODE == Opcode.CLOSE:
                # In the midst of a message the library takes it for a mistake, RFC 6455 (5.4) does not.
                self._parts, self._frames.current_size = [], None
            self._feed(data[:size])
            data = data[size:]

    def pause_writing(self) -> None:
        self.flow.pause()

    def resume_writing(self) -> None:
        self.flow.resume()

    def eof_received(self) -> None:
        """Lets the transport close."""

    def connection_lost(self, exc: Exception | None) -> None:
        self.flow.end()
        if self._closing:
            self._closing.cancel()
        self._connections.discard(self)
        closed = self._frames.close_rcvd or self._frames.close_sent
        self.flow.put_nowait({"type": "websocket.disconnect", "code": closed.code if closed else 1006})

    # From the client

    def _feed(self, data: bytes) -> None:
        """Lets the library look at the handshake, or at a frame that is no whole short text."""
        self._frames.receive_data(data)
        for event in self._frames.events_received():
            if isinstance(event, Request):
                self._begin(event)
            elif isinstance(event, Frame):
                self._take(event)
        self._flush()
        if self._frames.parser_exc is not None and self._frames.state is State.CONNECTING:
            self._transport.close()
        elif self._frames.close_rcvd is not None:
            self._wait_for_the_end()
            self._transport.close()
        elif self._frames.parser_exc is not None:
            self._wait_for_the_end()

    def _take(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if frame.opcode is not Opcode.CONT:
                self._is_text = frame.opcode is Opcode.TEXT
            self._parts.append(bytes(frame.data))
            if frame.fin:
                message, self._parts = b"".join(self._parts), []
                self._take_message(message)

    def _take_message(self, message: bytes) -> None:
        if self._closing:
            return
        content: Message = {"bytes": message}
        if self._is_text:
            try:
                content = {"text": message.decode()}
            except UnicodeDecodeError:
                self._frames.fail(patience.INVALID_TEXT, "the text is no UTF-8")
                self._wait_for_the_end()
                return
        self.flow.put_nowait({"type": "websocket.receive", **content})

    # The application

    def _begin(self, request: Request) -> None:
        self._response = self._frames.accept(request)
        if self._response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._refuse(self._response)
            return
        path, _, query = request.path.partition("?")
        headers = [
            (name.lower().encode("ascii"), value.encode("latin-1", "surrogateescape"))
            for name, value in request.headers.raw_items()
        ]
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "wss" if is_ssl(self._transport) else "ws",
            "server": get_local_addr(self._transport),
            "client": get_remote_addr(self._transport),
            "root_path": "",
            "path": unquote(path),
            "raw_path": path.encode("ascii"),
            "query_string": query.encode("ascii"),
            "headers": headers,
            "subprotocols": [],
            "extensions": {DENIAL: {}, LET_ANSWER: self.flow.let_answer},
        }
        # Whoever sends a frame before it is accepted must wait with it.
        self._transport.pause_reading()
        self.flow.put_nowait({"type": "websocket.connect"})
        task = asyncio.get_running_loop().create_task(self._run(scope))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, scope: dict[str, Any]) -> None:
        try:
            await self._config.loaded_app(scope, self.flow.receive, self._send)
        except Exception:
            logger.exception("a connection's application has failed")
            self._close(patience.INTERNAL_ERROR, "internal error")
        if self._frames.state is State.CONNECTING:
            self._deny(HTTPStatus.INTERNAL_SERVER_ERROR)

    async def _send(self, message: Message) -> None:
        """A message of the application for the client. What comes after the end is dropped."""
        if self._transport.is_closing():
            return
        kind = message["type"]
        if kind == "websocket.send":
            if self._frames.state is State.OPEN:
                if (text := message.get("text")) is not None:
                    self.flow.write(text_frame(text))
                else:
                    self._frames.send_binary(message["bytes"])
                    self._flush()
        elif kind == "websocket.accept":
            if self._frames.state is State.CONNECTING:
                self._frames.send_response(self._response)
                self._flush()
                self._transport.resume_reading()
        elif kind == "websocket.close":
            self._close(message.get("code", 1000), message.get("reason", ""))
        elif kind == f"{DENIAL}.start":
            self._deny(HTTPStatus(message["status"]))
        if self.flow.full:
            await self.flow.drained()

    # The end

    def _close(self, code: int, reason: str) -> None:
        if self._frames.state is State.CONNECTING:
            self._deny(HTTPStatus.FORBIDDEN)
        elif self._frames.state is State.OPEN:
            self._frames.send_close(code, patience.shortened(reason))
            self._flush()
            self._wait_for_the_end()

    def _deny(self, status: HTTPStatus) -> None:
        response = self._frames.reject(status, f"{status.phrase}\n")
        if status == HTTPStatus.UNAUTHORIZED:
            response.headers.update(patience.CHALLENGE)
        self._refuse(response)

    def _refuse(self, response: Any) -> None:
        if not self._transport.is_closing():
            self._frames.send_response(response)
            self._flush()
            self._transport.close()

    def _cut(self, error: ProtocolError, code: int) -> None:
        self.flow.write(text_frame(error_frame(error)))
        self._close(code, error.message)

    def _wait_for_the_end(self) -> None:
        """What was told is read if the client reads within that time."""
        if self._closing is None:
            loop = asyncio.get_running_loop()
            self._closing = loop.call_later(patience.CLOSE_PATIENCE, self._transport.abort)

    def _flush(self) -> None:
        if data := b"".join(self._frames.data_to_send()):
            self.flow.write(data)

    def shutdown(self) -> None:
        """Called by Uvicorn when nothing is waited for any more."""
        self._transport.abort()

    def check(self) -> None:
        """Called every second: pings, and ends what was waited for long enough."""
        now = time.monotonic()
        if self._frames.state is State.CONNECTING:
            if now - self._opened_at > patience.HANDSHAKE_PATIENCE:
                self._deny(HTTPStatus.SERVICE_UNAVAILABLE)
        elif self._frames.state is State.OPEN:
            self._check_open(now)

    def _check_open(self, now: float) -> None:
        if self.flow.stalled():
            self._cut(patience.nothing_read(), patience.TRY_AGAIN_LATER)
        elif self._pinged_at is not None:
            limit = self._config.ws_ping_timeout or 0.0
            # While we do not look, it may have answered.
            if now - self._pinged_at > limit and not self.flow.reading_paused:
                self._cut(patience.ping_unanswered(limit), patience.POLICY_VIOLATION)
        elif now - self._heard_at > (self._config.ws_ping_interval or 0.0):
            self._pinged_at = now
            self._frames.send_ping(b"")
            self._flush()


class WebServer(uvicorn.Server):
    """Uvicorn with bounded connections and an end in order."""

    def __init__(
        self,
        application: Any,
        *,
        websockets: Endpoint,
        descriptor: int | None,
        address: tuple[str, int],
        tls: tuple[str, str] | None,
        ping_interval: float,
        ping_timeout: float,
    ) -> None:
        certificate, key = tls or (None, None)
        if tls:
            tls_context(*tls)  # Uvicorn reads the files itself, and would not say what is wrong with them
        config = uvicorn.Config(
            application,
            loop="asyncio",  # uvloop: 5 % less CPU with fifty connections, and 10 % slower with one
            http=HttpToolsProtocol,
            ws=BoundedWebSocket,  # type: ignore[arg-type] # any protocol of asyncio will do
            ws_ping_interval=ping_interval,
            ws_ping_timeout=ping_timeout,
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # whom a proxy speaks for is our own affair
            server_header=False,
            ssl_certfile=certificate,
            ssl_keyfile=key,
            timeout_graceful_shutdown=int(patience.CLOSING_PATIENCE),
        )
        super().__init__(config)
        self._websockets, self._descriptor, self._address = websockets, descriptor, address
        self._seen: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
        self.problem = ""
        """Why it does not listen."""

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Returns after SIGTERM or SIGINT, or when it cannot listen."""
        try:
            listener = self._listen()
        except (OSError, CannotServe) as error:
            self.problem = str(error)
        else:
            super().run(sockets=[listener])

    def _listen(self) -> socket.socket:
        if self._descriptor is not None:
            return socket.socket(fileno=self._descriptor)
        family, address = resolve(*self._address)
        return socket.create_server(address, family=family)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As Uvicorn's, but afterwards the process ends by itself, with an exit code."""
        before = {
            signum: signal.signal(signum, self.handle_exit) for signum in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        if counter % TICKS == 0:
            connections: list[Any] = list(self.server_state.connections)
            for connection in connections:
                if isinstance(connection, BoundedWebSocket):
                    connection.check()
                elif isinstance(connection, HttpToolsProtocol):
                    self._check_http(connection)
        return await super().on_tick(counter)

    def _check_http(self, connection: Any) -> None:
        since = self._seen.setdefault(connection, time.monotonic())
        if connection.cycle is None and time.monotonic() - since > HTTP_PATIENCE:
            connection.transport.close()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets nobody in any more, finishes the replies in flight, and says goodbye."""
        for server in self.servers:
            server.close()
        await self._websockets.stop(patience.STOP_PATIENCE)
        if self.server_state.tasks:
            await asyncio.wait(set(self.server_state.tasks), timeout=patience.CLOSING_PATIENCE)
        await super().shutdown(sockets)
