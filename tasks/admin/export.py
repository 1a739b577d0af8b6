"""Tasks as files: JSON for programs, CSV for spreadsheets; streamed, however many there are."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse

from tasks.models import Priority, Task

COLUMNS = (
    *(
        "id",
        "type",
        "priority",
        "status",
        "progress",
        "description",
        "files_pattern",
        "timeout",
        "working_dir",
    ),
    *("agent", "model", "max_retries", "retry_count", "failure_reason", "error"),
    *("created_at", "started_at", "completed_at"),
)
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_json(tasks: QuerySet[Task]) -> StreamingHttpResponse:
    """A JSON array of objects."""
    return _file(_json(tasks), "application/json", "tasks.json")


def as_csv(tasks: QuerySet[Task]) -> StreamingHttpResponse:
    """A header and a row per task; a text that a spreadsheet would compute is quoted with an apostrophe."""
    writer = csv.writer(_Echo())
    rows = (writer.writerow([_harmless(value) for value in record.values()]) for record in _records(tasks))
    return _file(_with_header(writer.writerow(COLUMNS), rows), "text/csv", "tasks.csv")


class _Echo:
    """A file that hands back what is written."""

    def write(self, text: str) -> str:
        return text


def _file(parts: Iterator[str], kind: str, name: str) -> StreamingHttpResponse:
    response = StreamingHttpResponse(parts, content_type=f"{kind}; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _with_header(header: Any, rows: Iterator[Any]) -> Iterator[str]:
    yield header
    yield from rows


def _json(tasks: QuerySet[Task]) -> Iterator[str]:
    before = "[\n"
    for record in _records(tasks):
        yield before + json.dumps(record, ensure_ascii=False)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _records(tasks: QuerySet[Task]) -> Iterator[dict[str, Any]]:
    for task in tasks.iterator(chunk_size=1000):
        values = {name: getattr(task, name) for name in COLUMNS if name != "timeout"}
        for name in ("created_at", "started_at", "completed_at"):
            values[name] = values[name].isoformat() if values[name] else None
        values |= {"priority": Priority(task.priority).label, "timeout": task.timeout_ms}
        yield {name: values[name] for name in COLUMNS}


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
