#!/usr/bin/env python3
"""An agent that prints secrets in every way it can, and writes its environment to the file in its prompt.

Its prompt is a JSON object: `secrets` to print, spelt backwards since a prompt is stored as it is;
`environment` the file; and `go_on`, a file whose coming lets it end. Until then there is a child whose
command line holds the secrets.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path


def say(kind: str, **part: object) -> None:
    event = {"type": kind, "timestamp": int(time.time() * 1000), "sessionID": "ses_test", "part": part}
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def main() -> int:
    if sys.argv[1:2] == ["db"]:
        return 0
    orders = json.loads(sys.stdin.readline())
    Path(orders["environment"]).write_text(json.dumps(dict(os.environ)))
    say("step_start")
    secrets = [secret[::-1] for secret in orders["secrets"]]
    for secret in secrets:
        say("text", text=f"I found {secret}\nin the file")
        tool = {"status": "completed", "input": {"command": f"curl -H {secret}"}, "output": f"x\n{secret}\n"}
        say("tool_use", tool="bash", state=tool)
        sys.stdout.write(f"no event, but {secret}\n")
        sys.stderr.write(f"Error: {secret} was refused\n")
        sys.stderr.flush()
    command = [sys.executable, "-c", "import time; time.sleep(60)", "--note", *secrets]
    with subprocess.Popen(command) as child:
        say("text", text=f"child {child.pid}")
        while not os.path.exists(orders["go_on"]):
            time.sleep(0.02)
        child.kill()
    return 3


if __name__ == "__main__":
    sys.exit(main())
