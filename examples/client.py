"""Submits a task and prints what its agent says, live, until it ends.

pip install websockets
python examples/client.py "Write a haiku about durability into haiku.txt"

Not with the blocking client of `websockets`: it reads and writes in two threads, which TLS (wss://) does not
bear in Python 3.11: of 2 000 connections one hung.
"""

import asyncio
import json
import os
import sys
import uuid

from websockets.asyncio.client import connect

URL = os.environ.get("OPENCODE_URL", "ws://localhost:8080/ws")


async def main(description: str) -> int:
    task_id = f"example-{uuid.uuid4().hex[:8]}"
    async with connect(URL, max_size=None) as socket:

        async def send(message: dict) -> None:
            await socket.send(json.dumps(message))

        await send(
            {
                "type": "subscribe_to_updates",
                "channels": ["task_status", "log_entries"],
                "filters": {"task_status": {"task_ids": [task_id]}, "log_entries": {"agents": [task_id]}},
            }
        )
        await send(
            {
                "type": "start_task",
                "task": {"id": task_id, "type": "writing", "priority": "high", "description": description},
            }
        )
        async for frame in socket:
            message = json.loads(frame)
            if message["type"] == "error":
                print(f"{message['code']}: {message['message']}", file=sys.stderr)
                return 2
            if message["type"] == "log_entry":
                print(f"{message['log']['level']:<5} {message['log']['message']}")
            elif message["type"] == "task_status_update":
                print(f"----- {message['new_status']} {message['progress']} %")
                if message["new_status"] in ("completed", "failed", "cancelled"):
                    return 0 if message["new_status"] == "completed" else 1
    return 3


if __name__ == "__main__":
    sys.exit(asyncio.run(main(" ".join(sys.argv[1:]) or "Say hello")))
