"""The web process without the garbage collector: says what is left of its connections when they are over.

`python -m tests.support.leftovers PORT COUNT` serves, opens and closes so many connections of each kind, and
prints the number of objects left, by class, as JSON; it waits some seconds for there to be none.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter

from opencode_site import web
from tests.support.client import Client
from tests.support.raw import RawClient
from tests.support.waiting import eventually

PACKAGES = (
    *("opencode_site.ws.consumer", "opencode_site.ws.connection", "opencode_site.ws.outbox"),
    *("opencode_site.ws.flow", "opencode_site.ws.transport", "daphne.http_protocol"),
    "twisted.web.http.HTTPChannel",
)
FOR_GOOD = {"opencode_site.ws.transport.WebServer", "daphne.http_protocol.HTTPFactory"}
PATIENCE = 10.0


def _open_and_close(port: int, count: int) -> None:
    for _ in range(count):
        with Client(f"ws://127.0.0.1:{port}/ws") as client:
            client.request({"type": "subscribe_to_updates", "channels": ["task_status"]})
        with RawClient(port):
            pass


def _left() -> Counter[str]:
    kinds = (type(each) for each in gc.get_objects())
    names = (f"{kind.__module__}.{kind.__qualname__}" for kind in kinds)
    return Counter(name for name in names if name.startswith(PACKAGES) and name not in FOR_GOOD)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _watch(port: int, count: int) -> None:
    try:
        eventually("it listens", lambda: _listens(port), patience=PATIENCE)
        _open_and_close(port, 1)  # what is kept for good is made by the first
        _open_and_close(port, count)
        deadline = time.monotonic() + PATIENCE
        while (left := _left()) and time.monotonic() < deadline:
            time.sleep(0.05)
        sys.stdout.write(json.dumps(left))
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    gc.disable()
    threading.Thread(target=_watch, args=(int(sys.argv.pop(1)), int(sys.argv.pop(1))), daemon=True).start()
    sys.exit(web.main())
