#!/usr/bin/env python3
"""An agent for the dashboard's tests: it says what its prompt, a JSON object, tells it to, as OpenCode would.

`say`: texts; `todos`: [done, total]; `lines`: number of numbered texts, `rate` of them a second, and
`quick_rate` from the line `quick_from` on; `hold`: seconds to stay before the end; `fail`: the message of an
error that ends it.
"""

import json
import sys
import time


def tell(kind: str, **event: object) -> None:
    now = int(time.time() * 1000)
    sys.stdout.write(json.dumps({"type": kind, "timestamp": now, "sessionID": "ses_talker", **event}) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    tell("text", part={"text": text})


def todos(done: int, total: int) -> None:
    items = [{"content": f"step {n}", "status": "completed" if n < done else "pending"} for n in range(total)]
    state = {"status": "completed", "input": {"todos": items}, "output": "", "metadata": {"todos": items}}
    tell("tool_use", part={"tool": "todowrite", "state": state})


def say_lines(numbers: range, rate: float) -> None:
    started = time.monotonic()
    for number in numbers:
        say(f"line {number}")
        ahead = (number - numbers.start) / rate - (time.monotonic() - started)
        if ahead > 0.01:
            time.sleep(ahead)


def main() -> int:
    if sys.argv[1:2] == ["db"]:
        return 0
    orders = json.loads(sys.stdin.read())
    tell("step_start", part={})
    for text in orders.get("say", []):
        say(text)
    if "todos" in orders:
        todos(*orders["todos"])
    lines = range(orders.get("lines", 0))
    quick_from = orders.get("quick_from", len(lines))
    say_lines(lines[:quick_from], orders.get("rate", 1000))
    say_lines(lines[quick_from:], orders.get("quick_rate", 1000))
    time.sleep(orders.get("hold", 0))
    if "fail" in orders:
        tell("error", error={"name": "APIError", "data": {"message": orders["fail"], "statusCode": 401}})
        return 1
    tokens = {"input": 800, "output": 50, "reasoning": 0, "cache": {"read": 200, "write": 0}}
    tell("step_finish", part={"reason": "stop", "tokens": tokens, "cost": 0.0123})
    return 0


if __name__ == "__main__":
    sys.exit(main())
