"""The scripted model of the tests: the model's name chooses what happens (see `tests.support.scenarios`)."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from types import TracebackType

from opencode_site.demo import model_server
from opencode_site.demo.model_server import Refusal, Request, Turn, opencode_config
from tasks.agents.opencode import OpenCode
from tests.support.scenarios import ERRORS, MODELS, SCENARIOS

PROVIDER = "stub"
HELD_AT_MOST = 300.0
"""Seconds that a `hang` waits for its release, so that a forgotten one ends too."""


class ModelServer(model_server.ModelServer):
    """The server on a free port of 127.0.0.1, for as long as its `with` block.

    `retry_after` is the header (seconds) that a 429 or 500 carries. opencode honours it, so that its six
    attempts, which would wait for a minute in all, take no time.
    """

    def __init__(self, *, retry_after: str = "0") -> None:
        super().__init__()
        self.retry_after = retry_after
        self._received: list[Request] = []
        self._news = threading.Condition()
        self._released = threading.Event()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.release()
        super().__exit__(kind, error, tb)

    def answer(self, request: Request) -> Turn | Refusal:
        with self._news:
            self._received.append(request)
            self._news.notify_all()
        if request.model in ERRORS:
            status, message = ERRORS[request.model]
            return Refusal(status, message, {"Retry-After": self.retry_after} if status in {429, 500} else {})
        if request.model not in SCENARIOS:
            return Refusal(404, f"The model {request.model} does not exist")
        if request.model == "hang":
            self._released.wait(HELD_AT_MOST)
        turns = SCENARIOS[request.model](request.prompt)
        return turns[min(request.answered_turns, len(turns) - 1)]

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


def opencode_env(server: ModelServer, home: Path) -> dict[str, str]:
    """A whole environment for opencode: below `home`, offline, with the scripted models as `stub/…`."""
    home.mkdir(parents=True, exist_ok=True)
    config = opencode_config(server.url, provider=PROVIDER, models=MODELS, default="success")
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(home),
        **model_server.opencode_env(home, config),
    }


def find_opencode() -> Path | None:
    """The real opencode: OPENCODE_BIN, else on the PATH, else in the node_modules of NODE_PATH."""
    binaries = [
        str(Path(entry) / ".bin") for entry in os.environ.get("NODE_PATH", "").split(os.pathsep) if entry
    ]
    search_path = os.pathsep.join([os.environ.get("PATH", os.defpath), *binaries])
    return OpenCode().find(configured=os.environ.get("OPENCODE_BIN", ""), search_path=search_path)
