#!/usr/bin/env python3
"""An agent that writes down what it was given: its arguments, its prompt, where it is.

With the prompt `wait for FILE` it ends when there is one.
"""

import json
import os
import sys
import time


def main() -> int:
    if sys.argv[1:2] == ["db"]:
        return 0
    prompt = sys.stdin.buffer.read()
    title = sys.argv[sys.argv.index("--title") + 1]
    told = {"argv": sys.argv[1:], "prompt": prompt.decode(), "cwd": os.getcwd(), "pwd": os.environ["PWD"]}
    with open(os.path.join(os.environ["HOME"], f"{title}.json"), "w") as file:
        json.dump(told, file)
    if prompt.startswith(b"wait for "):
        while not os.path.exists(prompt[9:]):
            time.sleep(0.02)
    for kind, part in (("step_start", {}), ("step_finish", {"reason": "stop", "tokens": {}, "cost": 0})):
        event = {"type": kind, "timestamp": int(time.time() * 1000), "sessionID": "ses_test", "part": part}
        sys.stdout.write(json.dumps(event) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
