"""A WebSocket connection: frame → decode → limit → route → reply, and updates → frames.

Not Channels' stock consumer: its dispatch hops to a worker thread before every message, from the client and
from the layer alike, which costs three quarters of Daphne's speed (measured). This one reads its client in
one loop; updates are received once per process by the hub.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import orjson
from django.conf import settings
from pydantic import ValidationError

from monitoring import requests
from monitoring.about import about
from opencode_site import __version__
from opencode_site.access.scopes import Principal
from opencode_site.ws.connection import Connection
from opencode_site.ws.errors import (
    Code,
    InvalidJSON,
    InvalidValue,
    MissingField,
    ProtocolError,
    clipped,
    from_task_error,
    from_validation,
    quoted,
    unexpected,
)
from opencode_site.ws.hub import Hub
from opencode_site.ws.limits import ConnectionLimit, MessageLimit, RateLimited, ServerLimits
from opencode_site.ws.outbox import UPDATES_LIMIT, Outbox
from opencode_site.ws.patience import GOING_AWAY, INTERNAL_ERROR, POLICY_VIOLATION, TRY_AGAIN_LATER
from opencode_site.ws.registry import AT_ONCE, ROUTES
from opencode_site.ws.schemas.basic import ConnectionEstablished, Reply, Request, error_frame, now
from opencode_site.ws.submissions import Submissions
from tasks.errors import TaskError

ASGIMessage = dict[str, Any]
Receive = Callable[[], Awaitable[ASGIMessage]]
Send = Callable[[ASGIMessage], Awaitable[None]]
Handler = Callable[[Connection, Any], Awaitable[Reply | None] | str]

PATIENT_ERRORS = 100
"""Messages over the limit that are answered at once; a client that goes on gets one answer per `SLOW`."""
SLOW = 0.05
SHORT = 256
"""Characters up to which a frame may be answered at once."""
UNKNOWN = "unknown"
"""What messages of no known type are counted as."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What is measured of a request: when it came (`perf_counter`) and its bytes."""

    began: float
    size: int


class Consumer:
    """Serves one client until it leaves."""

    def __init__(
        self,
        send: Send,
        *,
        hub: Hub,
        server: ServerLimits,
        submissions: Submissions,
        connections: ConnectionLimit,
        principal: Principal,
    ) -> None:
        self.principal = principal
        self._send = send
        self._connections = connections
        self._messages = MessageLimit(settings.MESSAGES_PER_MINUTE)
        self._refused = 0
        self._outbox = Outbox(self._send_frame, overloaded=self._overloaded)
        self._exchange = Exchange(0.0, 0)
        self._connection = Connection(
            outbox=self._outbox,
            answer=self._answer_later,
            fail=self._fail,
            hub=hub,
            server=server,
            submissions=submissions,
            principal=principal,
        )
        self._idle = asyncio.Event()
        self._idle.set()
        self._parting: list[asyncio.Future[None]] = []

    async def run(self, receive: Receive) -> None:
        """Returns when the client has gone."""
        if (await receive())["type"] != "websocket.connect":
            return
        try:
            await self._connections.enter()
        except RateLimited as error:
            await self._send({"type": "websocket.accept"})
            self._part(error_frame(error), code=TRY_AGAIN_LATER, reason=error.message)
            await self._serve(receive)
            return
        try:
            await self._send({"type": "websocket.accept"})
            hello = ConnectionEstablished.model_construct(server_version=__version__, timestamp=now())
            await self._outbox.reply(hello.frame())
            await self._serve(receive)
        finally:
            try:
                await self._outbox.stop()
                await self._connection.close()
            finally:
                await self._connections.leave()

    async def _serve(self, receive: Receive) -> None:
        try:
            while (message := await receive())["type"] == "websocket.receive":
                if self._parting:
                    continue
                self._idle.clear()
                await self._receive(message)
                self._idle.set()
        finally:
            for farewell in self._parting:
                farewell.cancel()

    # --- A request ------------------------------------------------------------------------------------------

    def answer_at_once(self, text: str, send: Callable[[str], None]) -> bool:
        """Answers a request that needs nothing but memory, without a turn of the loop and a task's step.

        To be called only while `run` waits for a message. False leaves the text to it: nothing was counted.
        """
        if len(text) > SHORT or self._parting or self._outbox.busy:
            return False
        began = time.perf_counter()
        try:
            content = decode(text)
            kind = content.get("type")
            if not isinstance(kind, str) or kind not in AT_ONCE:
                return False
            request, _ = route(content, self.principal)
            self._messages.hit()
        except ProtocolError:
            return False
        self._refused = 0
        frame = AT_ONCE[kind](self._connection, request)
        milliseconds = (time.perf_counter() - began) * 1000
        send(frame)
        # The client need not wait for this.
        requests.observe(request.type, milliseconds=milliseconds, size=_bytes(text) + _bytes(frame))
        return True

    async def _receive(self, message: ASGIMessage) -> None:
        text = message.get("text")
        size = _bytes(text) if text is not None else len(message["bytes"])
        exchange = self._exchange = Exchange(time.perf_counter(), size)
        content: dict[str, Any] = {}
        try:
            self._messages.hit()
            self._refused = 0
            content = decode(text)
            request, handler = route(content, self.principal)
        except RateLimited as error:
            await self._slow_down()
            await self._reject(exchange, content, error)
        except ProtocolError as error:
            await self._reject(exchange, content, error)
        except Exception as error:  # noqa: BLE001 - logged with a reference that the client is told
            await self._reject(exchange, content, unexpected("a frame", error))
        else:
            await self._answer(exchange, request, handler(self._connection, request))

    async def _slow_down(self) -> None:
        self._refused += 1
        if self._refused > PATIENT_ERRORS:
            await asyncio.sleep(SLOW)

    async def _reject(self, exchange: Exchange, content: dict[str, Any], error: ProtocolError) -> None:
        kind = content.get("type")
        known = isinstance(kind, str) and kind in ROUTES
        frame = error_frame(error, content.get("request_id"))
        await self._reply(exchange, str(kind) if known else UNKNOWN, frame, error.code)

    async def _answer(
        self, exchange: Exchange, request: Request, work: Awaitable[Reply | None] | str
    ) -> None:
        code = ""
        try:
            if isinstance(work, str):
                frame = work
            else:
                reply = await work
                if reply is None:
                    return
                reply.request_id = request.request_id
                frame = reply.frame()
        except Exception as error:  # noqa: BLE001 - logged with a reference that the client is told
            problem = _as_protocol_error(request, error)
            frame, code = error_frame(problem, request.request_id), problem.code
        await self._reply(exchange, request.type, frame, code)

    def _answer_later(self, request: Request, work: Awaitable[Reply | None]) -> Coroutine[Any, Any, None]:
        """Called while the request is being handled: one is, at a time."""
        return self._answer(self._exchange, request, work)

    async def _reply(self, exchange: Exchange, kind: str, frame: str, error: str) -> None:
        milliseconds = (time.perf_counter() - exchange.began) * 1000
        requests.observe(kind, milliseconds=milliseconds, size=exchange.size + _bytes(frame), error=error)
        await self._outbox.reply(frame)

    async def _send_frame(self, frame: str) -> None:
        await self._send({"type": "websocket.send", "text": frame})

    # --- The end --------------------------------------------------------------------------------------------

    def _overloaded(self) -> None:
        error = ProtocolError(
            Code.SERVER_OVERLOAD,
            "Updates come faster than they are read; subscribe to less or read faster",
            waiting_limit=UPDATES_LIMIT,
        )
        self._part(error_frame(error), code=TRY_AGAIN_LATER, reason=error.message)

    def _fail(self, error: ProtocolError) -> None:
        """The connection cannot keep what it has promised."""
        self._part(error_frame(error), code=INTERNAL_ERROR, reason=error.message)

    def dismiss(self) -> None:
        """Ends the connection: its key or login does not hold any more."""
        error = ProtocolError(
            Code.PERMISSION_DENIED,
            f"The access of {self.principal.name} has ended: revoked, expired or changed",
        )
        if not self._parting:
            self._part(error_frame(error), code=POLICY_VIOLATION, reason="the access has ended")

    def _part(self, frame: str | None, *, code: int, reason: str) -> None:
        """Says goodbye past everything that waits, and waits for none of it to be read."""
        self._outbox.close()
        last: list[ASGIMessage] = [{"type": "websocket.send", "text": frame}] if frame else []
        last.append({"type": "websocket.close", "code": code, "reason": reason})
        self._parting.extend(asyncio.ensure_future(self._send_last(message)) for message in last)

    async def _send_last(self, message: ASGIMessage) -> None:
        try:
            await self._send(message)
        except OSError:
            return  # it has gone first

    async def go_away(self, patience: float) -> None:
        """Closes with 1001 after the replies in flight, at the latest after so many seconds."""
        try:
            async with asyncio.timeout(patience):
                await self._connection.finish_replies()
                await self._until_idle()
                await self._outbox.flush()
        except TimeoutError:
            pass
        if not self._parting:
            self._part(None, code=GOING_AWAY, reason="the server is restarting")

    async def _until_idle(self) -> None:
        """Returns when whatever has been received is answered: only in `receive` nothing is left to do."""
        idle = 0
        # Between two of several messages `receive` lets the loop make a turn; then the next one is there.
        while idle < 2:
            await self._idle.wait()
            await asyncio.sleep(0)
            idle = idle + 1 if self._idle.is_set() else 0


def decode(text: str | None) -> dict[str, Any]:
    """The object in a frame's text; None is a binary frame. Raises `InvalidJSON`."""
    if text is None:
        raise InvalidJSON("a binary frame; send text")
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidJSON(str(error)) from None
    if not isinstance(content, dict):
        raise InvalidJSON(f"expected an object, got {quoted(content)}")
    return content


def route(content: dict[str, Any], principal: Principal) -> tuple[Request, Handler]:
    """The request in an object, and what answers it. Raises `ProtocolError`."""
    kind = content.get("type")
    if kind is None:
        raise MissingField("type")
    if not isinstance(kind, str):
        raise InvalidValue(
            f"Invalid type value: {quoted(kind)}. Expected a string",
            field="type",
            value=kind,
            expected="a string",
        )
    route = ROUTES.get(kind)
    if route is None:
        raise ProtocolError(
            Code.UNKNOWN_MESSAGE_TYPE,
            f"Unknown message type: {quoted(kind)}",
            field="type",
            value=clipped(kind),
            expected=sorted(ROUTES),
        )
    if not principal.scope.includes(route.needs):
        raise ProtocolError(
            Code.PERMISSION_DENIED,
            f"'{kind}' needs the scope {route.needs}; {principal.name} has {principal.scope}",
            scope=principal.scope.value,
            expected=route.needs.value,
        )
    try:
        # `model_validate` would do the same half a microsecond later.
        return route.schema.__pydantic_validator__.validate_python(content), route.handler
    except ValidationError as error:
        raise from_validation(error) from None


def _as_protocol_error(request: Request, error: Exception) -> ProtocolError:
    if isinstance(error, ProtocolError):
        return error
    if isinstance(error, TaskError):
        return from_task_error(error)
    named = getattr(request, "task_id", None) or getattr(getattr(request, "task", None), "id", None)
    with about(named or ""):
        return unexpected(request.type, error)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
