"""A client of the protocol, as somebody outside would write it with a real WebSocket library."""

from __future__ import annotations

import json
import socket
import ssl
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from websockets.sync.client import ClientConnection

from tests.support.tls import connect
from tests.support.waiting import eventually

Message = dict[str, Any]
PATIENCE = 60.0


def is_answer(message: Message) -> bool:
    """Whether it is the reply or error to a request, and no update."""
    return not message["type"].endswith(("_update", "log_entry"))


class Client:
    """Keeps every message that it has received, in order, in `received`. `options` are the library's."""

    def __init__(self, url: str, *, tls: ssl.SSLContext | None = None, **options: Any) -> None:
        self._open = ExitStack()
        self._socket: ClientConnection = self._open.enter_context(
            # Without pings of its own: the server pings, and Hypothesis forbids the `random` behind them. It
            # reads on while its test waits for a turn; else the server would rightly take it for a slow one.
            connect(
                url, tls=tls, open_timeout=10, max_size=None, max_queue=None, ping_interval=None, **options
            )
        )
        self.received: list[Message] = []
        self._seen = 0

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._open.close()

    def vanish(self) -> None:
        """Breaks the connection without a word, as a network that goes away does."""
        self._socket.socket.shutdown(socket.SHUT_RDWR)

    def send(self, message: Message) -> None:
        self._socket.send(json.dumps(message))

    def send_text(self, frame: str | bytes) -> None:
        """Sends a frame as it is; bytes go as a binary one."""
        self._socket.send(frame)

    def request_raw(self, message: Message) -> Message:
        """Sends a request as it is and returns the next message that is no update."""
        self.send(message)
        return self.wait(is_answer)

    def request(self, message: Message, *, patience: float = PATIENCE) -> Message:
        """Sends a request and returns its reply or error, told by its `request_id`."""
        mark = uuid.uuid4().hex
        self.send({**message, "request_id": mark})
        return self.wait(lambda answer: answer.get("request_id") == mark, patience=patience)

    def wait(self, wanted: Callable[[Message], bool], *, patience: float = PATIENCE) -> Message:
        """Returns the next message that is wanted, out of those not returned or passed over yet."""
        deadline = time.monotonic() + patience
        while True:
            for place in range(self._seen, len(self.received)):
                if wanted(self.received[place]):
                    self._seen = place + 1
                    return self.received[place]
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"not received within {patience} s; last: {self.received[-3:]}")
            try:
                self.received.append(json.loads(self._socket.recv(timeout=left)))
            except TimeoutError:
                continue

    def rewind(self) -> None:
        """Lets `wait` look at everything received so far again."""
        self._seen = 0

    def start(self, task_id: str, **task: Any) -> Message:
        """Submits a task and returns the reply."""
        task = {"id": task_id, "type": "testing", "priority": "medium", "description": "say hello", **task}
        return self.request({"type": "start_task", "task": task})

    def task(self, task_id: str) -> Message:
        """The task as `get_task_status` tells it."""
        reply = self.request({"type": "get_task_status", "task_id": task_id})
        assert reply["type"] == "task_status", reply
        task: Message = reply["task"]
        return task

    def process(self, pid: int) -> Message:
        """The process as `request_process_list` tells it, once a scan has seen it."""

        def listed() -> Message | None:
            reply = self.request({"type": "request_process_list", "limit": 10_000})
            return next((each for each in reply["data"]["processes"] if each["pid"] == pid), None)

        shown: Message = eventually(f"process {pid} is listed", listed)
        return shown

    def until_status(self, task_id: str, *statuses: str, patience: float = PATIENCE) -> Message:
        """Waits, by the updates, until the task has one of the statuses; returns it. Needs a subscription."""
        task = self.task(task_id)
        if task["status"] not in statuses:
            self.rewind()
            self.wait(
                lambda m: (
                    m["type"] == "task_status_update"
                    and m["task_id"] == task_id
                    and m["new_status"] in statuses
                ),
                patience=patience,
            )
            task = self.task(task_id)
        return task

    def logs(self, task_id: str, **filters: Any) -> list[Message]:
        """Every stored log entry of a task, oldest first."""
        asked: Message = {"type": "request_log_entries", "limit": 1000}
        asked["filter"] = {"agent": task_id, **filters}
        entries: list[Message] = []
        while page := self.request(asked)["data"]["entries"]:
            entries = [*page, *entries]
            asked["before_id"] = page[0]["id"]
        return entries
