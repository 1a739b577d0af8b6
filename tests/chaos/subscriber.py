"""A client that stays subscribed whatever happens to the server, and remembers every update."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

CHANNELS = ("task_status", "log_entries")
TABLES = {"task_status": "tasks_transition", "log_entries": "monitoring_logentry"}
"""Where the updates of a channel are kept; a row's id is its cursor."""
GOES_ON_WITHIN = 10.0
"""Seconds after a disaster until work goes on."""
RESYNCHRONISED_WITHIN = 5.0
"""Seconds until subscribers have heard what they missed."""
KINDS = {"task_status_update": "task_status", "log_entry": "log_entries"}


def cursors(query: Callable[[str], Iterable[Sequence[Any]]]) -> dict[str, list[int]]:
    """What there was to hear, by channel; `query` reads the server's database."""
    return {
        channel: [row[0] for row in query(f"SELECT id FROM {table} ORDER BY id")]
        for channel, table in TABLES.items()
    }


class Subscriber(threading.Thread):
    """Resumes from its last cursors after every break, as the protocol promises that one can."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._over = threading.Event()
        self.began: dict[str, int] = {}
        """The cursors after which it has heard everything."""
        self.heard: dict[str, list[int]] = {channel: [] for channel in CHANNELS}
        self.connections = 0

    def stop(self) -> None:
        """Ends the thread soon."""
        self._over.set()

    def wait_until(self, heads: dict[str, int], *, patience: float) -> bool:
        """Whether it has come up to these cursors within so many seconds."""
        deadline = time.monotonic() + patience
        while any(self._last(channel) < head for channel, head in heads.items()):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def assert_heard(self, there: dict[str, list[int]]) -> None:
        """It has heard each of these that came after its beginning, once and in order. Ends the thread."""
        assert self.wait_until({channel: ids[-1] for channel, ids in there.items()}, patience=30)
        self.stop()
        self.join(10)
        for channel, ids in there.items():
            assert self.heard[channel] == [number for number in ids if number > self.began[channel]]

    def _last(self, channel: str) -> int:
        heard = self.heard[channel]
        return heard[-1] if heard else self.began.get(channel, -1)

    def run(self) -> None:
        while not self._over.is_set():
            try:
                # Without pings: a web process that is killed ends the connection by itself.
                with connect(self._url, open_timeout=5, close_timeout=0.1, ping_interval=None) as socket:
                    self.connections += 1
                    request: dict[str, Any] = {"type": "subscribe_to_updates", "channels": list(CHANNELS)}
                    if self.began:
                        request["resume_from"] = {name: str(self._last(name)) for name in CHANNELS}
                    socket.send(json.dumps(request))
                    self._listen(socket)
            except (OSError, WebSocketException):
                self._over.wait(0.05)

    def _listen(self, socket: Any) -> None:
        while not self._over.is_set():
            try:
                message = json.loads(socket.recv(timeout=0.2))
            except TimeoutError:
                continue
            if message["type"] == "subscription_confirmed" and not self.began:
                self.began = {name: int(cursor) for name, cursor in message["cursors"].items()}
            elif channel := KINDS.get(message["type"]):
                self.heard[channel].append(int(message["cursor"]))
            elif message["type"] == "error":
                # The database may be away while web is up: again, in a moment.
                self._over.wait(0.1)
                return
