"""A scripted language model: enough of an OpenAI-compatible server for the real opencode to work against.

The model's name chooses what happens (see `tests.support.scenarios`). Nothing leaves the loopback interface.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

from tasks.agents.opencode import OpenCode
from tests.support.scenarios import ERRORS, MODELS, SCENARIOS, Turn

PROVIDER = "stub"
USAGE = {
    "prompt_tokens": 1000,
    "prompt_tokens_details": {"cached_tokens": 200},
    "completion_tokens": 50,
    "total_tokens": 1050,
}
"""What every answer is said to have used: for opencode 800 input, 200 read from the cache, 50 output."""
PRICES = {"input": 2, "output": 10, "cache_read": 0.5, "cache_write": 0}
"""Dollars for a million tokens; one answer costs 0.0016 + 0.0005 + 0.0001 = 0.0022."""
HELD_AT_MOST = 300.0
"""Seconds that a `hang` waits for its release, so that a forgotten one ends too."""


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
    """The server on a free port of 127.0.0.1, for as long as its `with` block.

    `retry_after` is the header (seconds) that a 429 or 500 carries. opencode honours it, so that its six
    attempts, which would wait for a minute in all, take no time.
    """

    def __init__(self, *, retry_after: str = "0") -> None:
        self.retry_after = retry_after
        self._received: list[Request] = []
        self._news = threading.Condition()
        self._released = threading.Event()
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    def __enter__(self) -> ModelServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.release()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """The base URL that a provider is configured with."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def requests(self) -> list[Request]:
        """Everything received so far, oldest first."""
        with self._news:
            return list(self._received)

    def release(self) -> None:
        """Lets every `hang`, now and from now on, be answered."""
        self._released.set()

    def wait_for_request(self, model: str, *, patience: float = 60.0) -> Request:
        """Waits until `model` was asked for the first time; returns that request."""
        deadline = time.monotonic() + patience
        with self._news:
            while True:
                for request in self._received:
                    if request.model == model:
                        return request
                if not self._news.wait(deadline - time.monotonic()):
                    raise AssertionError(f"no request for the model {model!r} within {patience} s")

    def record(self, request: Request) -> None:
        with self._news:
            self._received.append(request)
            self._news.notify_all()

    def wait_for_release(self) -> None:
        self._released.wait(HELD_AT_MOST)


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
        """Keeps the access log out of the tests' output."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = _parse(body)
        self.server.owner.record(request)
        if request.model in ERRORS:
            self._refuse(*ERRORS[request.model])
        elif request.model not in SCENARIOS:
            self._refuse(404, f"The model {request.model} does not exist")
        else:
            if request.model == "hang":
                self.server.owner.wait_for_release()
            self._answer(request.model, _turn(request))

    def _refuse(self, status: int, message: str) -> None:
        content = json.dumps(
            {"error": {"message": message, "type": "stub_error", "code": str(status)}}
        ).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if status in {429, 500}:
            self.send_header("Retry-After", self.server.owner.retry_after)
        self.end_headers()
        self.wfile.write(content)

    def _answer(self, model: str, turn: Turn) -> None:
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
        chunk = {"id": "chatcmpl-stub", "object": "chat.completion.chunk", "created": 0, "model": model}
        self.wfile.write(f"data: {json.dumps({**chunk, 'choices': choices, **more})}\n\n".encode())


def _parse(body: dict[str, Any]) -> Request:
    messages = body["messages"]
    said = next((message["content"] for message in messages if message["role"] == "user"), "")
    if not isinstance(said, str):
        said = "".join(part.get("text", "") for part in said)
    answered = sum(message["role"] == "assistant" for message in messages)
    return Request(model=body["model"], prompt=said, answered_turns=answered, body=body)


def _turn(request: Request) -> Turn:
    turns = SCENARIOS[request.model](request.prompt)
    return turns[min(request.answered_turns, len(turns) - 1)]


def opencode_config(url: str) -> dict[str, Any]:
    """opencode's configuration with the scripted models as provider `stub`, at a server's `url`."""
    limit = {"context": 128_000, "output": 8_000}
    models = {name: {"name": name, "tool_call": True, "cost": PRICES, "limit": limit} for name in MODELS}
    provider = {
        "name": "Scripted models",
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": url, "apiKey": "not-a-key"},
        "models": models,
    }
    return {
        "provider": {PROVIDER: provider},
        "model": f"{PROVIDER}/success",
        "autoupdate": False,
        "share": "disabled",
    }


def opencode_env(server: ModelServer, home: Path) -> dict[str, str]:
    """A whole environment for opencode: below `home`, offline, with the scripted models as `stub/…`."""
    home.mkdir(parents=True, exist_ok=True)
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "OPENCODE_CONFIG_CONTENT": json.dumps(opencode_config(server.url)),
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        "OPENCODE_DISABLE_SHARE": "1",
        "OPENCODE_DISABLE_PROJECT_CONFIG": "1",
    }


def find_opencode() -> Path | None:
    """The real opencode: OPENCODE_BIN, else on the PATH, else in the node_modules of NODE_PATH."""
    binaries = [
        str(Path(entry) / ".bin") for entry in os.environ.get("NODE_PATH", "").split(os.pathsep) if entry
    ]
    search_path = os.pathsep.join([os.environ.get("PATH", os.defpath), *binaries])
    return OpenCode().find(configured=os.environ.get("OPENCODE_BIN", ""), search_path=search_path)
