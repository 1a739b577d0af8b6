"""Daphne with bounds: what waits for a client, in either direction, never grows without limit.

Stock Daphne's `send` does not wait for the socket and its `receive` is fed without limit (daphne #170): one
client that does not read costs it as much memory as there is to send. Here `send` waits while the socket's
buffer is full, the socket is not read while the application is behind, and a client that takes next to
nothing is told so and cut. Pings are answered in time or the client is told and cut. Close codes are what the
application says: Autobahn's `sendClose` refuses 1001 and 1013.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from http import HTTPStatus
from typing import Any

from autobahn.websocket.types import ConnectionDeny
from daphne.endpoints import build_endpoint_description_strings  # type: ignore[import-untyped]
from daphne.server import Server  # type: ignore[import-untyped]
from daphne.ws_protocol import WebSocketProtocol  # type: ignore[import-untyped]
from twisted.internet import defer
from twisted.internet.interfaces import ISSLTransport
from twisted.protocols.tls import TLSMemoryBIOFactory

from opencode_site.access.reach import tls_context
from opencode_site.ws import patience
from opencode_site.ws.endpoint import LET_ANSWER, Endpoint
from opencode_site.ws.errors import ProtocolError
from opencode_site.ws.flow import Flow, Message
from opencode_site.ws.flow_twisted import TwistedFlow
from opencode_site.ws.frames import take_texts, text_frame
from opencode_site.ws.origins import DENIAL
from opencode_site.ws.schemas.basic import error_frame


class BoundedProtocol(WebSocketProtocol):  # type: ignore[misc] # Daphne has no types
    """A WebSocket connection with brakes."""

    def onConnect(self, request: Any) -> Any:
        self.flow = TwistedFlow(self)
        self._heard_at = self._opened_at = time.monotonic()
        return super().onConnect(request)

    def onOpen(self) -> None:
        self.flow.replace_http()
        super().onOpen()

    def dataReceived(self, data: bytes) -> None:
        """Called by Twisted. Whole texts go past Autobahn when it is not in the midst of something."""
        if self.state == self.STATE_OPEN and not (self.data or self.inside_message or self.current_frame):
            texts, data = take_texts(data)
            if texts:
                self._hear(texts)
        if data:
            super().dataReceived(data)

    def _hear(self, texts: list[str]) -> None:
        self._heard_at = time.monotonic()
        overdue: Any = self.autoPingTimeoutCall
        if overdue:
            self._cancelAutoPingTimeoutCall()
        if not self.muted:
            self.flow.hear(texts)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self._heard_at = time.monotonic()
        if not self.muted:
            content = {"bytes": payload} if isBinary else {"text": payload.decode()}
            self.flow.put_nowait({"type": "websocket.receive", **content})

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.flow.end()
        super().onClose(wasClean, code, reason)

    def connectionLost(self, reason: Any) -> None:
        super().connectionLost(reason)
        # Its result is the protocol itself: a cycle, left to the garbage collector, which stops everybody.
        self.is_closed = None

    def handle_reply(self, message: Message) -> None:
        """A message of the application for the client. What comes after the end is dropped."""
        kind = message["type"]
        if kind == "websocket.send":
            if self.state == self.STATE_OPEN:
                text = message.get("text")
                if text is None:
                    self.sendMessage(message["bytes"], True)
                else:
                    self.flow.write(text_frame(text))
        elif kind == "websocket.close" and self.state != self.STATE_CONNECTING:
            self._close(message.get("code", 1000), message.get("reason", ""))
        elif kind == f"{DENIAL}.start":
            self._deny(message["status"])
        elif kind != f"{DENIAL}.body":
            super().handle_reply(message)

    def failHandshake(
        self, reason: str, code: int = 400, responseHeaders: list[tuple[str, str]] | None = None
    ) -> None:
        """Called by Autobahn."""
        super().failHandshake(
            reason, code, patience.CHALLENGE if code == HTTPStatus.UNAUTHORIZED else responseHeaders
        )

    def _deny(self, status: int) -> None:
        denial = ConnectionDeny(status, HTTPStatus(status).phrase)  # type: ignore[no-untyped-call]
        self.handshake_deferred.errback(denial)
        del self.handshake_deferred
        self.server.protocol_disconnected(self)

    def _close(self, code: int, reason: str) -> None:
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code=code, reasonUtf8=patience.shortened(reason).encode())

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
                self._cut(patience.nothing_read(), patience.TRY_AGAIN_LATER)
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
        self._cut(patience.ping_unanswered(self.server.ping_timeout), patience.POLICY_VIOLATION)

    def handle_exception(self, exception: BaseException) -> None:
        """The application has failed; Daphne has logged why."""
        if hasattr(self, "handshake_deferred"):
            super().handle_exception(exception)
        else:
            self._close(patience.INTERNAL_ERROR, "internal error")


class WebServer(Server):  # type: ignore[misc] # Daphne has no types
    """Daphne with bounded connections and an end in order."""

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
        host, port = address
        where = {"host": host, "port": port} if descriptor is None else {"file_descriptor": descriptor}
        super().__init__(
            application,
            endpoints=build_endpoint_description_strings(**where),
            websocket_timeout=-1,
            websocket_connect_timeout=patience.HANDSHAKE_PATIENCE,
            websocket_max_message_size=patience.MAX_MESSAGE_BYTES,
            websocket_max_frame_size=patience.MAX_MESSAGE_BYTES,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            ready_callable=self._configure,
            server_name="",
            verbosity=0,
        )
        self._websockets = websockets
        self._tls: Any = tls_context(*tls) if tls else None
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
        self.ws_factory.setProtocolOptions(
            # `check_timeouts` sees to it. Autobahn's timer would hold each connection for five seconds, also
            # one that has long gone.
            openHandshakeTimeout=0,
            failByDrop=False,  # so that a client is told why it is cut: 1009, 1007, 1002
            closeHandshakeTimeout=patience.CLOSE_PATIENCE,
            allowNullOrigin=True,  # origins are our own affair; left out, this one would be set back
        )
        self.ws_factory.protocol = _with_options(self.ws_factory)

    def listen_error(self, failure: Any) -> None:
        self.problem = failure.getErrorMessage()
        self.stop()

    def create_application(self, protocol: Any, scope: Message) -> Any:
        if scope["type"] != "websocket":
            return super().create_application(protocol, scope)
        scheme = "wss" if ISSLTransport.providedBy(protocol.transport) else "ws"
        flow: Flow = protocol.flow
        extensions = {DENIAL: {}, LET_ANSWER: flow.let_answer}
        scope |= {"asgi": {"version": "3.0"}, "scheme": scheme, "extensions": extensions}
        running = asyncio.ensure_future(self.application(scope, flow.receive, partial(self._send, protocol)))
        self.connections[protocol]["application_instance"] = running
        running.add_done_callback(lambda _: self._forget(protocol))
        return flow

    def protocol_disconnected(self, protocol: Any) -> None:
        """Called by Daphne, for some connections more than once."""
        if protocol in self.connections:
            super().protocol_disconnected(protocol)
            self._forget(protocol)

    def _forget(self, protocol: Any) -> None:
        """Lets go of a connection that is over, unless Daphne has something to say of how it ended.

        Daphne would look once a second, and then let those of the whole second go at once.
        """
        details = self.connections.get(protocol, {})
        application = details.get("application_instance")
        if "disconnected" in details and (application is None or _went_well(application)):
            del self.connections[protocol]

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
        await self._websockets.stop(patience.STOP_PATIENCE)
        running = [
            details["application_instance"]
            for details in self.connections.values()
            if not details.get("application_instance", _DONE).done()
        ]
        if running:
            await asyncio.wait(running, timeout=patience.CLOSING_PATIENCE)
        for application in running:
            application.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _with_options(factory: Any) -> type[BoundedProtocol]:
    """The protocol with its factory's options as the class's own.

    Autobahn would copy thirty of them to each connection and lay them out for a debug line that nobody
    reads: a quarter of the CPU that it takes to open and close one (measured with py-spy).
    """
    options = {name: getattr(factory, name) for name in BoundedProtocol.CONFIG_ATTRS}
    own = {name: staticmethod(value) if callable(value) else value for name, value in options.items()}
    return type("ConfiguredProtocol", (BoundedProtocol,), own | {"CONFIG_ATTRS": ()})


def _went_well(application: asyncio.Future[Any]) -> bool:
    return application.done() and not application.cancelled() and application.exception() is None


class _Done:
    def done(self) -> bool:
        return True


_DONE = _Done()
