"""A file of tasks → records, whichever of the known formats it has."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opencode_site.portable import original
from opencode_site.portable.records import FORMAT, VERSION

MAX_BYTES = 256 * 1024 * 1024
"""Of a file: it is read as a whole, since a task may name dependencies that come after it."""


class UnreadableFile(Exception):
    """The file as a whole cannot be taken; the message says what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file's text; `beside` is the directory in which the original system's second file is looked for."""

    name: str
    text: str
    beside: Path | None = None


def records(source: Source) -> list[Any]:
    """The records of a file, in its order. Raises `UnreadableFile`."""
    if len(source.text) > MAX_BYTES:
        raise UnreadableFile(f"{source.name} is larger than {MAX_BYTES >> 20} MiB")
    documents = _documents(source)
    head = documents[0] if documents and isinstance(documents[0], dict) else {}
    if "format" in head:
        _check_version(source.name, head)
        found = head.get("tasks", []) if len(documents) == 1 else documents[1:]
    elif len(documents) == 1 and original.is_original(head):
        found = original.records(head, _status_beside(source, head))
    else:
        raise UnreadableFile(
            f"{source.name} is no file of tasks: expected one that export_tasks wrote, or the original "
            "system's tasks.json or task_status.json"
        )
    if not isinstance(found, list):
        raise UnreadableFile(f"{source.name}: `tasks` is {type(found).__name__}, expected a list")
    return found


def _documents(source: Source) -> list[Any]:
    """The one JSON document, or one for each line."""
    try:
        return [json.loads(source.text)]
    except ValueError:
        lines = source.text.splitlines()
    documents = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            documents.append(json.loads(line))
        except ValueError as error:
            raise UnreadableFile(f"{source.name}, line {number}: not JSON: {error}") from error
    return documents


def _check_version(name: str, head: dict[str, Any]) -> None:
    if head["format"] != FORMAT:
        raise UnreadableFile(f"{name} has the format {head['format']!r}, expected {FORMAT!r}")
    version = head.get("version")
    if not isinstance(version, int) or not 1 <= version <= VERSION:
        raise UnreadableFile(
            f"{name} has version {version!r} of the format; this server reads 1 to {VERSION}"
        )


def _status_beside(source: Source, head: dict[str, Any]) -> dict[str, Any] | None:
    """tasks.json says what is to be done, task_status.json what came of it: done work is not done again."""
    if source.beside is None or "tasks" not in head:
        return None
    path = source.beside / original.STATUS_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"{path}, which belongs to {source.name}, cannot be read: {error}") from error
    if not original.is_original(content):
        raise UnreadableFile(f"{path} is not what the original system writes")
    found: dict[str, Any] = content
    return found
