"""`/healthz` and `/readyz`, for whoever watches over the server.

They come before Django: its pages share one thread, and one that waits for the database would hold them up.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import orjson
from django.conf import settings

from opencode_site.health import LOOKS, Part
from opencode_site.ws.origins import Application, Scope

logger = logging.getLogger(__name__)

PATIENCE = 3.0
"""Seconds after which a part that says nothing counts as away."""


class Probes:
    """The pages, and before them the two probes. Used by one event loop.

    With OPENCODE_AUTH on strangers are told the status alone: why is told by the log and `manage.py doctor`.
    """

    def __init__(self, pages: Application) -> None:
        self._pages = pages
        self._looking: dict[Callable[[], list[Part]], asyncio.Future[list[Part]]] = {}
        self._was_ready = True

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["path"] not in ("/healthz", "/readyz"):
            await self._pages(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            await _answer(scope, send, HTTPStatus.METHOD_NOT_ALLOWED, {"status": "expected GET or HEAD"})
        elif scope["path"] == "/healthz":
            await _answer(scope, send, HTTPStatus.OK, {"status": "ok"})
        else:
            await self._ready(scope, send)

    async def _ready(self, scope: Scope, send: Any) -> None:
        parts = [part for found in await asyncio.gather(*map(self._look, LOOKS)) for part in found]
        ready = all(part.ok for part in parts)
        if ready != self._was_ready:
            told = "; ".join(f"{part.name}: {part.why}" for part in parts if not part.ok)
            logger.warning("the server is %s", "ready again" if ready else f"not ready: {told}")
        self._was_ready = ready
        body: dict[str, Any] = {"status": "ok" if ready else "unavailable"}
        if not settings.AUTH:
            body["parts"] = {part.name: {"ok": part.ok, "why": part.why} for part in parts}
        await _answer(scope, send, HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, body)

    async def _look(self, look: Callable[[], list[Part]]) -> list[Part]:
        """All who ask at once share one look, and one that hangs is not begun again beside itself."""
        future = self._looking.get(look)
        if future is None or future.done():
            future = self._looking[look] = _in_thread(look)
        done, _ = await asyncio.wait({future}, timeout=PATIENCE)
        if done:
            return future.result()
        return [Part(name=name, ok=False, why=f"no answer within {PATIENCE:g} s") for name in LOOKS[look]]


def _in_thread(look: Callable[[], list[Part]]) -> asyncio.Future[list[Part]]:
    """In a thread that keeps no process from ending, unlike those of an executor."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[list[Part]] = loop.create_future()

    def settle(parts: list[Part]) -> None:
        future.set_result(parts)

    def work() -> None:
        try:
            parts = look()
        except Exception as error:
            logger.exception("a look at the server's parts broke")
            parts = [Part(name=name, ok=False, why=f"{type(error).__name__}") for name in LOOKS[look]]
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, parts)

    threading.Thread(target=work, name="probe", daemon=True).start()
    return future


async def _answer(scope: Scope, send: Any, status: HTTPStatus, body: dict[str, Any]) -> None:
    content = orjson.dumps(body) + b"\n"
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        (b"cache-control", b"no-store"),
        (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append((b"allow", b"GET, HEAD"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})
