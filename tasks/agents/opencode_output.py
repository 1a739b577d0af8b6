"""What opencode writes, line by line, as log lines and facts.

Measured with opencode-ai 1.18.33: `run --format json` writes one JSON event a line to stdout; stderr has
notes with colours and, with `--print-logs`, its log as `timestamp=… level=… key=value …`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, Final

from tasks.agents.base import COUNT_LIMIT, LogLine, Report
from tasks.agents.text import clip, one_line, strip_ansi

SUMMARY_LIMIT: Final = 200
"""Characters of a command or path in a one-line summary."""
LAST_MESSAGE_LIMIT: Final = 2_000
SESSION_ID_LIMIT: Final = 128
RETRY_AFTER_LIMIT: Final = 24 * 3600.0
"""Seconds: a provider that asks for more is not waited for longer."""
_LAST_MILLISECOND: Final = 253_402_300_799_999
"""Of the year 9999, the last one that Python knows."""

Event = dict[str, Any]


def read_event_line(line: str, report: Report) -> list[LogLine]:
    """A line of stdout. Whatever is not an event is kept as text: nothing that an agent wrote is lost."""
    event = _parse(line)
    if event is None:
        text = strip_ansi(line).strip()
        return [LogLine.of("info", text)] if text else []
    report.events += 1
    report.first_event = True
    report.session_id = report.session_id or strip_ansi(_text(event.get("sessionID")))[:SESSION_ID_LIMIT]
    kind = _text(event.get("type"))
    read = _READERS.get(kind)
    if read is None:
        return [LogLine.of("debug", f"event {kind!r}", {"event": event}, time=_time(event))]
    return read(event, report)


def _parse(line: str) -> Event | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):  # not JSON; a number too long; nested too deeply
        return None
    return event if isinstance(event, dict) and isinstance(event.get("type"), str) else None


# --- Events -------------------------------------------------------------------------------------------------


def _step_start(event: Event, report: Report) -> list[LogLine]:
    report.finished = False  # it goes on after all
    return []


def _said(event: Event, report: Report) -> list[LogLine]:
    text = strip_ansi(_text(_dict(event.get("part")).get("text"))).strip()
    if not text:
        return []
    report.last_message = clip(text, LAST_MESSAGE_LIMIT)
    return [LogLine.of("info", text, time=_time(event))]


def _reasoning(event: Event, report: Report) -> list[LogLine]:
    text = strip_ansi(_text(_dict(event.get("part")).get("text"))).strip()
    return [LogLine.of("debug", text, {"kind": "reasoning"}, time=_time(event))] if text else []


def _tool_use(event: Event, report: Report) -> list[LogLine]:
    part = _dict(event.get("part"))
    state = _dict(part.get("state"))
    tool = _text(part.get("tool")) or "tool"
    details = _tool_details(tool, state)
    if tool == "todowrite" and details["status"] == "completed":
        done, total = _count_todos(state)
        report.progress = min(99, 100 * done // total) if total else None
        message = f"todos: {done} of {total} done" if total else "todos: none"
        return [LogLine.of("info", message, details, time=_time(event))]
    message = f"{tool}: {summary}" if (summary := _summary(state)) else tool
    if details["status"] == "error":
        why = one_line(details["error"], SUMMARY_LIMIT * 2)
        return [LogLine.of("warn", f"{message} failed: {why}", details, time=_time(event))]
    if code := details.get("exit"):
        return [LogLine.of("warn", f"{message} (exit code {code})", details, time=_time(event))]
    return [LogLine.of("info", message, details, time=_time(event))]


def _tool_details(tool: str, state: Event) -> dict[str, Any]:
    details: dict[str, Any] = {"tool": tool, "status": _text(state.get("status"))}
    for name in ("input", "output"):
        if name in state:
            details[name] = state[name]
    if details["status"] == "error":
        details["error"] = _text(state.get("error")) or "no reason was given"
    code = _count(_dict(state.get("metadata")).get("exit"))
    if code is not None:
        details["exit"] = code
    span = _dict(state.get("time"))
    start, end = _count(span.get("start")), _count(span.get("end"))
    if start is not None and end is not None and end >= start:
        details["duration_ms"] = end - start
    return details


def _summary(state: Event) -> str:
    """What the tool was about, in one line: its most telling argument, else opencode's own title."""
    given = _dict(state.get("input"))
    for name in ("command", "filePath", "pattern", "url", "query", "path", "description"):
        if text := one_line(_text(given.get(name)), SUMMARY_LIMIT):
            return text
    return one_line(_text(state.get("title")), SUMMARY_LIMIT)


def _count_todos(state: Event) -> tuple[int, int]:
    """How many todos are done, of how many; the cancelled ones do not count, since nobody will do them."""
    todos = _dict(state.get("metadata")).get("todos")
    if not isinstance(todos, list):
        todos = _dict(state.get("input")).get("todos")
    states = [_dict(todo).get("status") for todo in todos] if isinstance(todos, list) else []
    wanted = [status for status in states if status != "cancelled"]
    return wanted.count("completed"), len(wanted)


def _step_finish(event: Event, report: Report) -> list[LogLine]:
    part = _dict(event.get("part"))
    tokens = _dict(part.get("tokens"))
    cache = _dict(tokens.get("cache"))
    spent = {
        "tokens_input": _count(tokens.get("input")) or 0,
        "tokens_output": _count(tokens.get("output")) or 0,
        "tokens_reasoning": _count(tokens.get("reasoning")) or 0,
        "tokens_cache_read": _count(cache.get("read")) or 0,
        "tokens_cache_write": _count(cache.get("write")) or 0,
    }
    for name, number in spent.items():
        setattr(report, name, min(getattr(report, name) + number, COUNT_LIMIT))
    cost = _cost(part.get("cost"))
    report.add_cost(cost)
    report.last_reason = one_line(_text(part.get("reason")), SUMMARY_LIMIT)
    report.finished = report.last_reason == "stop"
    details = {"reason": report.last_reason, "cost": str(cost), **spent}
    if report.last_reason == "length":
        message = "The model's answer was cut off at its output limit"
        return [LogLine.of("warn", message, details, time=_time(event))]
    used = f"{spent['tokens_input']} tokens in, {spent['tokens_output']} out, ${cost:f}"
    return [LogLine.of("debug", f"step finished ({report.last_reason}): {used}", details, time=_time(event))]


def _error(event: Event, report: Report) -> list[LogLine]:
    error = _dict(event.get("error"))
    # A session's error keeps its facts in `data`; one of the request that starts it may be flat.
    data = _dict(error.get("data")) or error
    status = _count(data.get("statusCode"))
    report.error_name = one_line(_text(error.get("name")), SUMMARY_LIMIT) or "Error"
    report.error_message = one_line(_text(data.get("message")), LAST_MESSAGE_LIMIT) or one_line(
        json.dumps(event.get("error")), LAST_MESSAGE_LIMIT
    )
    report.error_status = status if status is not None and 100 <= status <= 599 else None
    report.error_retryable = data.get("isRetryable") is True
    report.retry_after = _retry_after(_dict(data.get("responseHeaders")))
    report.finished = False
    details = {
        "name": report.error_name,
        "status": report.error_status,
        "retryable": report.error_retryable,
        "url": _dict(data.get("metadata")).get("url"),
        "response": data.get("responseBody"),
        "ref": data.get("ref"),
    }
    known = {name: value for name, value in details.items() if value is not None}
    where = f" (HTTP {report.error_status})" if report.error_status else ""
    return [LogLine.of("error", f"{report.error_message}{where}", known, time=_time(event))]


def _retry_after(headers: dict[str, Any]) -> float | None:
    """What the provider's answer says in seconds (RFC 9110, 10.2.3), or in `retry-after-ms` as some do."""
    values = {str(name).lower(): _text(value).strip() for name, value in headers.items()}
    try:
        if text := values.get("retry-after-ms"):
            seconds = float(text) / 1000
        elif (text := values.get("retry-after", "")).replace(".", "", 1).isdecimal():
            seconds = float(text)
        else:
            now = parsedate_to_datetime(values["date"])
            seconds = (parsedate_to_datetime(text) - now).total_seconds()
    except (KeyError, ValueError, TypeError):
        return None
    return min(seconds, RETRY_AFTER_LIMIT) if seconds > 0 else None


_READERS: Final[dict[str, Callable[[Event, Report], list[LogLine]]]] = {
    "step_start": _step_start,
    "text": _said,
    "reasoning": _reasoning,
    "tool_use": _tool_use,
    "step_finish": _step_finish,
    "error": _error,
}


# --- Stderr -------------------------------------------------------------------------------------------------

_LOG_LINE: Final = re.compile(r"timestamp=\S+ level=[A-Z]+ ")
_LOG_FIELD: Final = re.compile(r'([A-Za-z_][\w.-]*)=("(?:[^"\\]|\\.)*+"|[^\s"]*+)')
_LOG_LEVELS: Final = {"DEBUG": "debug", "INFO": "debug", "WARN": "warn", "ERROR": "error"}
_LOG_CONTEXT: Final = {"timestamp", "level", "message", "run", "session.id", "messageID"}
REJECTED: Final = "permission requested: "
MODEL_CALL_FAILED: Final = "stream error"


def read_stderr_line(line: str, report: Report) -> list[LogLine]:
    """A line of stderr: of opencode's log, or a note for people."""
    text = strip_ansi(line).strip()
    if not text:
        return []
    if _LOG_LINE.match(text):
        return _logged(text, report)
    report.add_stderr(one_line(text, SUMMARY_LIMIT * 2))
    if REJECTED in text and "auto-rejecting" in text:
        report.permission_rejected = True
        return [LogLine.of("warn", text.removeprefix("! "))]
    if text.startswith("!"):
        return [LogLine.of("warn", text.lstrip("! "))]
    if text.startswith("Error:"):
        return [LogLine.of("error", text)]
    return [LogLine.of("info", text)]


def _logged(text: str, report: Report) -> list[LogLine]:
    fields = {name: _unquoted(value) for name, value in _LOG_FIELD.findall(text)}
    what = fields.get("message", "")
    why = fields.get("error") or fields.get("error.error") or ""
    message = ": ".join(part for part in (what, why) if part) or text
    level = _LOG_LEVELS.get(fields.get("level", ""), "info")
    if what == MODEL_CALL_FAILED:
        # It tries again, five times, for a minute or as long as the provider says: a sign of life, no end.
        report.first_event = True
        level = "warn"
    if level in {"warn", "error"}:
        report.add_stderr(one_line(message, SUMMARY_LIMIT * 2))
    details = {name: value for name, value in fields.items() if name not in _LOG_CONTEXT}
    return [LogLine.of(level, message, details, time=_log_time(fields.get("timestamp", "")))]


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        return _text(json.loads(value))
    except ValueError:
        return value.strip('"')


def _log_time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time.astimezone(UTC) if time.tzinfo else None


# --- Values that may be anything ----------------------------------------------------------------------------


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    """A whole number from 0 to `COUNT_LIMIT`, else None."""
    return (
        value
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= COUNT_LIMIT
        else None
    )


def _cost(value: object) -> Decimal:
    """Dollars, digit for digit as the stream has them; 0 for whatever is no price."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Decimal(0)
    # `repr` gives the shortest digits that mean this number, and so does JavaScript.
    return Decimal(repr(value)) if math.isfinite(value) and 0 <= value <= COUNT_LIMIT else Decimal(0)


def _time(event: Event) -> datetime | None:
    milliseconds = event.get("timestamp")
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        return None
    if not 0 < milliseconds <= _LAST_MILLISECOND:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
