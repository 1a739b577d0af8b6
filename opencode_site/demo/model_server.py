"""A scripted language model: enough of an OpenAI-compatible server for the real opencode to work against.

It listens on loopback only, and what it answers is decided by who uses it: `manage.py demo`, and the tests.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

USAGE = {
    "prompt_tokens": 1000,
    "prompt_tokens_details": {"cached_tokens": 200},
    "completion_tokens": 50,
    "total_tokens": 1050,
}
"""What every answer is said to have used: for opencode 800 input, 200 read from the cache, 50 output."""
PRICES = {"input": 2, "output": 10, "cache_read": 0.5, "cache_write": 0}
"""Dollars for a million tokens; one answer costs 0.0016 + 0.0005 + 0.0001 = 0.0022."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool that the model asks for."""

    tool: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of the model: it says something, or calls tools, or both."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    finish: str = "stop"


def calling(*calls: Call, text: str = "") -> Turn:
    """An answer that wants the results of its tools before the next one."""
    return Turn(text, calls, finish="tool_calls")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error instead of an answer."""

    status: int
    message: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """One request that the server received."""

    model: str
    prompt: str
    """The text of the user's first message: for opencode, the prompt of the run."""
    answered_turns: int
    """How many answers of the model the conversation holds already."""
    body: dict[str, Any]


class ModelServer:
    """The server on a free port of 127.0.0.1, for as long as its `with` block. A subclass answers."""

    def __init__(self) -> None:
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """The base URL that a provider is configured with."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def answer(self, request: Request) -> Turn | Refusal:
        """What the model says; called in a thread of the request's own, so that it may wait."""
        raise NotImplementedError


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    owner: ModelServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed in the middle of an answer is nothing to print a traceback about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http
    _call_numbers: ClassVar[Iterator[int]] = itertools.count(1)

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody wants its access log."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = _parse(body)
        answer = self.server.owner.answer(request)
        if isinstance(answer, Refusal):
            self._refuse(answer)
        else:
            self._say(request.model, answer)

    def _refuse(self, refusal: Refusal) -> None:
        error = {"message": refusal.message, "type": "scripted_error", "code": str(refusal.status)}
        content = json.dumps({"error": error}).encode()
        self.send_response(refusal.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in refusal.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _say(self, model: str, turn: Turn) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for delta in self._deltas(turn):
            self._send(model, [{"index": 0, "delta": delta, "finish_reason": None}])
        self._send(model, [{"index": 0, "delta": {}, "finish_reason": turn.finish}])
        self._send(model, [], usage=USAGE)
        self.wfile.write(b"data: [DONE]\n\n")

    def _deltas(self, turn: Turn) -> Iterator[dict[str, Any]]:
        yield {"role": "assistant", "content": turn.text}
        for place, call in enumerate(turn.calls):
            function = {"name": call.tool, "arguments": json.dumps(call.arguments)}
            identity = f"call_{next(self._call_numbers)}"
            yield {"tool_calls": [{"index": place, "id": identity, "type": "function", "function": function}]}

    def _send(self, model: str, choices: list[dict[str, Any]], **more: Any) -> None:
        chunk = {"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 0, "model": model}
        self.wfile.write(f"data: {json.dumps({**chunk, 'choices': choices, **more})}\n\n".encode())


def _parse(body: dict[str, Any]) -> Request:
    messages = body["messages"]
    said = next((message["content"] for message in messages if message["role"] == "user"), "")
    if not isinstance(said, str):
        said = "".join(part.get("text", "") for part in said)
    answered = sum(message["role"] == "assistant" for message in messages)
    return Request(model=body["model"], prompt=said, answered_turns=answered, body=body)


def opencode_config(url: str, *, provider: str, models: Iterable[str], default: str) -> dict[str, Any]:
    """opencode's configuration with the scripted models of one provider, at a server's `url`."""
    limit = {"context": 128_000, "output": 8_000}
    known = {name: {"name": name, "tool_call": True, "cost": PRICES, "limit": limit} for name in models}
    scripted = {
        "name": "Scripted models",
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": url, "apiKey": "not-a-key"},
        "models": known,
    }
    return {
        "provider": {provider: scripted},
        "model": f"{provider}/{default}",
        "autoupdate": False,
        "share": "disabled",
    }


def opencode_env(home: Path, config: dict[str, Any]) -> dict[str, str]:
    """What keeps opencode offline, with this configuration, and with its files below `home`."""
    return {
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "OPENCODE_CONFIG_CONTENT": json.dumps(config),
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        "OPENCODE_DISABLE_SHARE": "1",
        "OPENCODE_DISABLE_PROJECT_CONFIG": "1",
    }
