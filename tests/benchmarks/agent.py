#!/usr/bin/env python3
"""An agent whose lines say when they were written.

The first line of its prompt is a JSON object: `lines` to say, and `per_second` (0: as quickly as it can).
"""

import json
import sys
import time


def say(kind: str, **part: object) -> None:
    event = {"type": kind, "timestamp": int(time.time() * 1000), "sessionID": "ses_test", "part": part}
    sys.stdout.write(json.dumps(event) + "\n")


def main() -> int:
    if sys.argv[1:2] == ["db"]:
        return 0
    orders = json.loads(sys.stdin.readline())
    say("step_start")
    began = time.monotonic()
    for number in range(orders["lines"]):
        if orders["per_second"]:
            # By the clock and not by the pause, so that the rate is what was asked for.
            time.sleep(max(0.0, began + number / orders["per_second"] - time.monotonic()))
        say("text", text=f"line {number} {time.time():.6f}")
        if orders["per_second"]:
            sys.stdout.flush()
    tokens = {"input": 800, "output": 50, "reasoning": 0, "cache": {"read": 200, "write": 0}}
    say("step_finish", reason="stop", tokens=tokens, cost=0.001)
    return 0


if __name__ == "__main__":
    sys.exit(main())
