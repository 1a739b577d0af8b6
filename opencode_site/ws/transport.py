"""Daphne with bounds: what waits for a client, in either direction, never grows without limit.

Stock Daphne's `send` does not wait for the socket and its `receive` is fed without limit (daphne #170): one
client that does not read costs it as much memory as there is to send. Here `send` waits while the socket's
buffer is full, the socket is not read while the application is behind, and a client that takes next to
nothing is told so and cut. Pings are answered in time or the client is told and cut. Close codes are what the
application says: Autobahn's `sendClose` refuses 1001 and 1013.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from functools import partial
from http import HTTPStatus
from typing import Any

from autobahn.websocket.types import ConnectionDeny
from daphne.server import Server  # type: ignore[import-untyped]
from daphne.ws_protocol import WebSocketProtocol  # type: ignore[import-untyped]
from twisted.internet import defer
from twisted.internet.interfaces import ISSLTransport
from twisted.protocols.tls import TLSMemoryBIOFactory

from opencode_site.ws.endpoint import Endpoint
from opencode_site.ws.errors import Code, ProtocolError
from opencode_site.ws.origins import DENIAL
from opencode_site.ws.schemas.basic import error_frame

MAX_MESSAGE_BYTES = 1024 * 1024
"""A larger frame or message closes the connection with 1009."""
INBOX_MESSAGES, INBOX_BYTES = 64, 256 * 1024
"""What may wait for the application; beyond it the socket is not read until half of it is left."""
READ_BYTES = 16 * 1024
"""Read of one client before others are looked at (Twisted's own is four times that)."""
STALLED_AFTER, STALLED_BELOW = 8.0, 64 * 1024
"""A client that has taken fewer bytes in so many seconds, while there is something for it, is cut."""
SEND_BUFFER = 256 * 1024
"""Bytes that the kernel may hold for one client (Linux doubles it for its own needs). Left to itself it grows
to some MB, and a client that reads nothing is noticed only when its replies have filled that."""
CLOSE_PATIENCE = 2.0
"""Seconds for a client to answer a close, and so to read what it was told before it."""
STOP_PATIENCE, CLOSING_PATIENCE = 2.5, 1.0
"""Seconds for replies in flight, and then for the closing handshakes, when the server stops."""
POLICY_VIOLATION, TRY_AGAIN_LATER, INTERNAL_ERROR = 1008, 1013, 1011

CHALLENGE = [("WWW-Authenticate", 'Bearer realm="opencode"')]

Message = dict[str, Any]


class Flow:
    """One connection's brakes. Twisted calls it as the producer of what is sent."""

    def __init__(self, protocol: BoundedProtocol) -> None:
        self._protocol = protocol
        self._transport: Any = protocol.transport
        # With TLS there is a layer between.
        self._socket: Any = getattr(protocol.transport, "transport", protocol.transport)
        self._inbox: deque[Message] = deque()
        self._size = 0
        self._arrived: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._behind = self._reading_paused = False
        self._taken, self._since = 0, 0.0
        self._bound_buffers()

    def _bound_buffers(self) -> None:
        self._socket.bufferSize = READ_BYTES
        self._socket.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    # From the client

    def put_nowait(self, message: Message) -> None:
        """Takes a message for the application; called by Daphne."""
        self._inbox.append(message)
        self._size += _size(message)
        self._behind = len(self._inbox) > INBOX_MESSAGES or self._size > INBOX_BYTES
        if self._behind:
            self._read_or_not()
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    async def receive(self) -> Message:
        """The application's `receive`. Between several messages of one client everybody else has a turn."""
        if self._inbox:
            await asyncio.sleep(0)
        while not self._inbox:
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        message = self._inbox.popleft()
        self._size -= _size(message)
        if self._behind and len(self._inbox) <= INBOX_MESSAGES // 2 and self._size <= INBOX_BYTES // 2:
            self._behind = False
            self._read_or_not()
        return message

    # To the client

    @property
    def full(self) -> bool:
        """Whether the socket's buffer is."""
        return self._drained is not None

    async def drained(self) -> None:
        """Returns when the buffer is empty, or the connection at its end."""
        if self._drained is not None:
            await asyncio.shield(self._drained)

    def pauseProducing(self) -> None:
        """The buffer is full."""
        if self._drained is None:
            self._drained = asyncio.get_running_loop().create_future()
            self._taken, self._since = self._taken_so_far(), time.monotonic()
            # Answers to pings go past the application: whoever does not read them may not send more.
            self._read_or_not()

    def resumeProducing(self) -> None:
        """The buffer is empty."""
        if self._drained is not None:
            self._drained.set_result(None)
            self._drained = None
            self._read_or_not()

    def stopProducing(self) -> None:
        """The connection is at its end."""
        if self._drained is not None:
            self._drained.set_result(None)
            self._drained = None

    def stalled(self) -> bool:
        """Whether the client takes next to nothing of what waits for it."""
        if not self.full:
            return False
        taken, now = self._taken_so_far(), time.monotonic()
        if taken - self._taken >= STALLED_BELOW:
            self._taken, self._since = taken, now
        return now - self._since >= STALLED_AFTER

    def _taken_so_far(self) -> int:
        written: int = self._protocol.trafficStats.outgoingOctetsWireLevel
        socket = self._socket
        waiting: int = len(socket.dataBuffer) - socket.offset + socket._tempDataLen
        return written - waiting

    # Both

    @property
    def reading_paused(self) -> bool:
        """Whether what the client sends is left in the socket."""
        return self._reading_paused

    def _read_or_not(self) -> None:
        pause = self._behind or self.full
        if pause != self._reading_paused and not self._socket.disconnected:
            self._reading_paused = pause
            if pause:
                self._transport.pauseProducing()
            else:
                self._transport.resumeProducing()


class BoundedProtocol(WebSocketProtocol):  # type: ignore[misc] # Daphne has no types
    """A WebSocket connection with brakes."""

    def onConnect(self, request: Any) -> Any:
        self.flow = Flow(self)
        self._heard_at = self._opened_at = time.monotonic()
        return super().onConnect(request)

    def onOpen(self) -> None:
        # Until now Daphne's HTTP channel was the producer.
        self.transport.unregisterProducer()
        self.transport.registerProducer(self.flow, True)
        super().onOpen()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self._heard_at = time.monotonic()
        if not self.muted:
            content = {"bytes": payload} if isBinary else {"text": payload.decode()}
            self.flow.put_nowait({"type": "websocket.receive", **content})

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.flow.stopProducing()
        super().onClose(wasClean, code, reason)

    def handle_reply(self, message: Message) -> None:
        """A message of the application for the client. What comes after the end is dropped."""
        kind = message["type"]
        if kind == "websocket.send":
            if self.state == self.STATE_OPEN:
                text = message.get("text")
                self.sendMessage(message["bytes"] if text is None else text.encode(), text is None)
        elif kind == "websocket.close" and self.state != self.STATE_CONNECTING:
            self._close(message.get("code", 1000), message.get("reason", ""))
        elif kind == f"{DENIAL}.start":
            self._deny(message["status"])
        elif kind != f"{DENIAL}.body":
            super().handle_reply(message)

    def failHandshake(
        self, reason: str, code: int = 400, responseHeaders: list[tuple[str, str]] | None = None
    ) -> None:
        """Called by Autobahn. HTTP wants a 401 to name the way to authenticate."""
        super().failHandshake(reason, code, CHALLENGE if code == HTTPStatus.UNAUTHORIZED else responseHeaders)

    def _deny(self, status: int) -> None:
        denial = ConnectionDeny(status, HTTPStatus(status).phrase)  # type: ignore[no-untyped-call]
        self.handshake_deferred.errback(denial)
        del self.handshake_deferred
        self.server.protocol_disconnected(self)

    def _close(self, code: int, reason: str) -> None:
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code=code, reasonUtf8=reason.encode()[:123])

    def _cut(self, error: ProtocolError, code: int) -> None:
        """Tells why, and closes; what was told is read if the client reads within `CLOSE_PATIENCE`."""
        if self.state == self.STATE_OPEN:
            self.sendMessage(error_frame(error).encode())
            self._close(code, error.message)

    def check_timeouts(self) -> None:
        """Called by Daphne every other second."""
        now = time.monotonic()
        if self.state == self.STATE_CONNECTING:
            if now - self._opened_at > self.server.websocket_connect_timeout:
                self.serverReject()
        elif self.state == self.STATE_OPEN:
            if self.flow.stalled():
                self._cut(
                    ProtocolError(
                        Code.SERVER_OVERLOAD,
                        f"Nothing was read for {STALLED_AFTER:g} seconds though there was something to read",
                        seconds=STALLED_AFTER,
                    ),
                    TRY_AGAIN_LATER,
                )
            # Daphne would ping again before the first ping is overdue, and so forget the first.
            elif not self._pinged() and now - self._heard_at > self.server.ping_interval:
                self._heard_at = now
                self._sendAutoPing()

    def _pinged(self) -> bool:
        pending: Any = self.autoPingPending
        return pending is not None

    def onAutoPingTimeout(self) -> None:
        """The client has not answered a ping."""
        self.autoPingTimeoutCall = self.autoPingPending = None
        if self.flow.reading_paused:
            return  # perhaps it has, and we have not looked
        seconds = self.server.ping_timeout
        self._cut(
            ProtocolError(
                Code.HEARTBEAT_TIMEOUT,
                f"A WebSocket ping was not answered within {seconds:g} seconds",
                timeout_seconds=seconds,
            ),
            POLICY_VIOLATION,
        )

    def handle_exception(self, exception: BaseException) -> None:
        """The application has failed; Daphne has logged why."""
        if hasattr(self, "handshake_deferred"):
            super().handle_exception(exception)
        else:
            self._close(INTERNAL_ERROR, "internal error")


class WebServer(Server):  # type: ignore[misc] # Daphne has no types
    """Daphne with bounded connections and an end in order."""

    def __init__(
        self,
        application: Any,
        *,
        websockets: Endpoint,
        endpoints: list[str],
        tls: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(
            application,
            endpoints=endpoints,
            websocket_timeout=-1,
            websocket_max_message_size=MAX_MESSAGE_BYTES,
            websocket_max_frame_size=MAX_MESSAGE_BYTES,
            ready_callable=self._configure,
            server_name="",
            verbosity=0,
            **options,
        )
        self._websockets, self._tls = websockets, tls
        self.problem = ""
        """Why it does not listen."""

    @property
    def http_factory(self) -> Any:
        """What Daphne lets listen: its own factory, under TLS if we were given a context for it."""
        return self._http_factory

    @http_factory.setter
    def http_factory(self, factory: Any) -> None:
        if self._tls is not None:
            factory = TLSMemoryBIOFactory(self._tls, isClient=False, wrappedFactory=factory)
        self._http_factory = factory

    def _configure(self) -> None:
        """Called by Daphne when its factory exists and no client has come yet."""
        self.ws_factory.protocol = BoundedProtocol
        self.ws_factory.setProtocolOptions(
            failByDrop=False,  # so that a client is told why it is cut: 1009, 1007, 1002
            closeHandshakeTimeout=CLOSE_PATIENCE,
            allowNullOrigin=True,  # origins are our own affair; left out, this one would be set back
        )

    def listen_error(self, failure: Any) -> None:
        self.problem = failure.getErrorMessage()
        self.stop()

    def create_application(self, protocol: Any, scope: Message) -> Any:
        if scope["type"] != "websocket":
            return super().create_application(protocol, scope)
        scheme = "wss" if ISSLTransport.providedBy(protocol.transport) else "ws"
        scope |= {"asgi": {"version": "3.0"}, "scheme": scheme, "extensions": {DENIAL: {}}}
        flow: Flow = protocol.flow
        running = self.application(scope, flow.receive, partial(self._send, protocol))
        self.connections[protocol]["application_instance"] = asyncio.ensure_future(running)
        return flow

    async def _send(self, protocol: BoundedProtocol, message: Message) -> None:
        if "disconnected" not in self.connections.get(protocol, {"disconnected": True}):
            protocol.handle_reply(message)
            if protocol.flow.full:
                await protocol.flow.drained()

    def kill_all_applications(self) -> Any:
        """Called once, when the server is to stop; Twisted waits for what it returns."""
        return defer.Deferred.fromFuture(asyncio.ensure_future(self._stop()))

    async def _stop(self) -> None:
        for listener in self.listeners:
            listener.addCallback(lambda port: port and port.stopListening())
        await self._websockets.stop(STOP_PATIENCE)
        running = [
            details["application_instance"]
            for details in self.connections.values()
            if not details.get("application_instance", _DONE).done()
        ]
        if running:
            await asyncio.wait(running, timeout=CLOSING_PATIENCE)
        for application in running:
            application.cancel()
        await asyncio.gather(*running, return_exceptions=True)


class _Done:
    def done(self) -> bool:
        return True


_DONE = _Done()


def _size(message: Message) -> int:
    return len(message.get("text") or message.get("bytes") or "")
