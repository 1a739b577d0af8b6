"""The files of the original OpenCode Agent Automation: `.claude/tasks.json` and `.claude/task_status.json`.

tasks.json is `{"created_at", "total_tasks", "tasks": [...]}`, mostly without a status. task_status.json is
`{"updated_at", "running_tasks", "queued_tasks", "completed_tasks"}`; its lists do not always agree with the
`status` of what is in them, and the status is what counts.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from tasks.models import FINISHED

STATUS_FILE = "task_status.json"
LISTS = {"queued_tasks": "pending", "running_tasks": "running", "completed_tasks": "completed"}
STATUSES = {"queued": "pending", "retrying": "pending"}
PRIORITIES = {"critical": "high"}
TIMES = ("created_at", "started_at", "completed_at")


def is_original(document: Any) -> bool:
    """Whether a document looks like one of the two files."""
    return isinstance(document, dict) and any(
        isinstance(document.get(name), list) for name in ("tasks", *LISTS)
    )


def records(document: dict[str, Any], status: dict[str, Any] | None = None) -> list[Any]:
    """The tasks in the names of our own format; `status` is the second file, which knows better."""
    found: list[Any] = []
    places: dict[Any, int] = {}
    for source in filter(None, (document, status)):
        written = source.get("updated_at") or source.get("created_at")
        for name, assumed in {"tasks": "pending", **LISTS}.items():
            for raw in source.get(name) or []:
                record = _translated(raw, assumed, written) if isinstance(raw, dict) else raw
                key = record.get("id") if isinstance(record, dict) else None
                if isinstance(key, str) and key in places:
                    found[places[key]] = {**found[places[key]], **record}
                else:
                    if isinstance(key, str):
                        places[key] = len(found)
                    found.append(record)
    return found


def _translated(raw: dict[str, Any], assumed: str, written: Any) -> dict[str, Any]:
    record = {name: value for name, value in raw.items() if value is not None}
    status = str(record.get("status", assumed)).lower()
    priority = str(record.get("priority", "medium")).lower()
    record |= {
        "status": STATUSES.get(status, status),
        "priority": PRIORITIES.get(priority, priority),
        "type": _slug(str(record.get("type", "general"))),
    }
    for name in TIMES:
        if name in record:
            record[name] = _aware(record[name])
    if record["status"] in FINISHED:
        # A status that was written by hand has no times: those of the file are the nearest.
        end = record.get("completed_at") or record.get("started_at") or _aware(written)
        record |= {"completed_at": end, "created_at": record.get("created_at", end)}
    return record


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "general"


def _aware(value: Any) -> Any:
    """It wrote local times without a zone: the machine's own is taken, as where the file was written."""
    if value is None:
        return datetime.now().astimezone().isoformat()
    try:
        return datetime.fromisoformat(str(value)).astimezone().isoformat()
    except ValueError:
        return value
