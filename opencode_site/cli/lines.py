"""A line of a log for people."""

from __future__ import annotations

from django.utils import timezone
from rich.text import Text

from monitoring.events import LogRecord
from opencode_site.cli.terminal import LEVEL_STYLES, shown


def log_line(entry: LogRecord, *, id_width: int = 0) -> Text:
    """Time in UTC, level, the task's id where there are several, message; what follows its first line is
    indented, so that no message can pass for a line of another."""
    style = LEVEL_STYLES[entry.level]
    moment = entry.time.astimezone(timezone.get_default_timezone())
    head = Text()
    head.append(f"{moment:%H:%M:%S} ", style="dim")
    head.append(f"{entry.level:<5} ", style=style)
    if id_width:
        head.append(f"{entry.agent:<{id_width}} ", style="cyan")
    message = shown(entry.message, style)
    indent = " " * len(head)
    for place, part in enumerate(message.split("\n")):
        if place:
            head.append("\n" + indent)
        head.append_text(part)
    return head
