#!/usr/bin/env python3
"""A small agent that speaks OpenCode's event stream, for tests about what happens around an agent.

The first line of its prompt is a JSON object: `lines` to say (numbered texts), `pause` seconds after each
ten, `children` that call setsid() and would live on, `exit` code, `ignore_term`, and `marker`: a file to
which each start appends a line with the pids of the agent and its children and the run's id, so that starts
and what is left of them can be counted from outside. The first `fail_first` starts by the marker end with an
error of the provider that may pass.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any


def say(kind: str, **part: object) -> None:
    event = {"type": kind, "timestamp": int(time.time() * 1000), "sessionID": "ses_test", "part": part}
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def leave_child() -> int:
    pid = os.fork()
    if pid == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # Long enough to be found alive where it should not be, short enough not to outlive a broken test.
        time.sleep(120)
        os._exit(0)
    return pid


def read_orders() -> dict[str, Any]:
    """What somebody wrote for a real agent takes some seconds, as with a real one."""
    prompt = sys.stdin.readline()
    return dict(json.loads(prompt)) if prompt.startswith("{") else {"lines": 60, "pause": 1}


def main() -> int:
    if sys.argv[1:2] == ["db"]:
        return 0
    orders = read_orders()
    if orders.get("ignore_term"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    children = [leave_child() for _ in range(orders.get("children", 0))]
    starts = 0
    if marker := orders.get("marker"):
        with Path(marker).open("a") as file:
            file.write(" ".join(map(str, (os.getpid(), os.environ["OPENCODE_RUN_ID"], *children))) + "\n")
        starts = len(Path(marker).read_text().splitlines())
    say("step_start")
    for number in range(orders.get("lines", 1)):
        say("text", text=f"line {number}")
        if number % 10 == 9:
            time.sleep(orders.get("pause", 0))
    if 0 < starts <= orders.get("fail_first", 0):
        data = {"message": "Overloaded", "statusCode": 503, "isRetryable": True}
        event = {"type": "error", "sessionID": "ses_test", "error": {"name": "APIError", "data": data}}
        sys.stdout.write(json.dumps(event) + "\n")
        return 1
    tokens = {"input": 800, "output": 50, "reasoning": 0, "cache": {"read": 200, "write": 0}}
    say("step_finish", reason="stop", tokens=tokens, cost=0.001)
    return int(orders.get("exit", 0))


if __name__ == "__main__":
    sys.exit(main())
