"""What can go wrong on a connection, and the one shape in which a client hears of it."""

from __future__ import annotations

import enum
import logging
import re
import secrets
from typing import Any

import orjson
from django.db import Error as AnyDatabaseError
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tasks.errors import (
    InvalidField,
    OutsideAllowedRoots,
    SpoolNotWritable,
    TaskAlreadyExists,
    TaskError,
    TaskNotFound,
    WorkingDirMissing,
)

logger = logging.getLogger(__name__)

VALUE_LIMIT = 200
"""Characters of an offending value that are sent back."""
TASK_FIELDS = ("id", "type", "description", "priority")
"""Required fields of a task, in the order in which missing ones are named."""


class Code(enum.StrEnum):
    """The spec's codes, and our one beyond them: INTERNAL_ERROR."""

    INVALID_JSON = "INVALID_JSON"
    UNKNOWN_MESSAGE_TYPE = "UNKNOWN_MESSAGE_TYPE"
    MISSING_REQUIRED_FIELD = "MISSING_REQUIRED_FIELD"
    INVALID_FIELD_VALUE = "INVALID_FIELD_VALUE"
    INVALID_TASK_DATA = "INVALID_TASK_DATA"
    TASK_NOT_FOUND = "TASK_NOT_FOUND"
    PROCESS_NOT_FOUND = "PROCESS_NOT_FOUND"
    TASK_ALREADY_EXISTS = "TASK_ALREADY_EXISTS"
    PROCESS_KILL_FAILED = "PROCESS_KILL_FAILED"
    DATABASE_ERROR = "DATABASE_ERROR"
    FILESYSTEM_ERROR = "FILESYSTEM_ERROR"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    RATE_LIMIT_EXCEEDED = "RATE_LIMIT_EXCEEDED"
    SERVER_OVERLOAD = "SERVER_OVERLOAD"
    CONNECTION_LOST = "CONNECTION_LOST"
    HEARTBEAT_TIMEOUT = "HEARTBEAT_TIMEOUT"
    INTERNAL_ERROR = "INTERNAL_ERROR"


class ProtocolError(Exception):
    """A request is answered with an error instead of a reply."""

    def __init__(self, code: Code, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


class InvalidJSON(ProtocolError):
    """The frame is not the text of a JSON object."""

    def __init__(self, problem: str) -> None:
        super().__init__(Code.INVALID_JSON, f"Malformed JSON in request: {problem}", expected="a JSON object")


class MissingField(ProtocolError):
    """A required field is not there."""

    def __init__(self, field: str) -> None:
        super().__init__(
            Code.MISSING_REQUIRED_FIELD,
            f"Required field missing: {field}",
            field=field,
            value=None,
            expected="a value",
        )


class InvalidValue(ProtocolError):
    """A field has a wrong type or value."""

    def __init__(self, message: str, *, field: str, value: Any, expected: Any) -> None:
        super().__init__(
            Code.INVALID_FIELD_VALUE, message, field=field, value=clipped(value), expected=expected
        )


TASK_CODES: dict[type[TaskError], Code] = {
    TaskNotFound: Code.TASK_NOT_FOUND,
    TaskAlreadyExists: Code.TASK_ALREADY_EXISTS,
    InvalidField: Code.INVALID_FIELD_VALUE,
    OutsideAllowedRoots: Code.PERMISSION_DENIED,
    WorkingDirMissing: Code.FILESYSTEM_ERROR,
    SpoolNotWritable: Code.FILESYSTEM_ERROR,
}


def from_task_error(error: TaskError) -> ProtocolError:
    """The domain's error with its code on the wire."""
    return ProtocolError(TASK_CODES[type(error)], error.message, **error.facts)


def from_validation(error: ValidationError) -> ProtocolError:
    """The first thing that is wrong with a request; what is missing comes before what is invalid."""
    problems = error.errors(include_url=False)
    missing = [problem["loc"] for problem in problems if problem["type"] == "missing"]
    of_task = {str(loc[1]) for loc in missing if len(loc) == 2 and loc[0] == "task"}
    if of_task:
        names = [name for name in TASK_FIELDS if name in of_task]
        return ProtocolError(
            Code.INVALID_TASK_DATA,
            f"Task data is missing required fields: {', '.join(names)}",
            field="task",
            missing=names,
            expected=list(TASK_FIELDS),
        )
    if missing:
        return MissingField(_path(missing[0]))
    return _invalid(problems[0])


def unexpected(what: str, error: Exception) -> ProtocolError:
    """What the client may know of an error that nobody foresaw: where to find it in the server's log."""
    reference = secrets.token_hex(6)
    logger.error("%s failed, reference %s", what, reference, exc_info=error)
    code, problem = Code.INTERNAL_ERROR, "An unexpected error happened"
    if isinstance(error, AnyDatabaseError):
        code, problem = Code.DATABASE_ERROR, "Database operation failed"
    elif isinstance(error, OSError):
        code, problem = Code.FILESYSTEM_ERROR, "File system operation failed"
    return ProtocolError(
        code, f"{problem}; the server's log tells more under {reference}", reference=reference
    )


def clipped(value: Any) -> Any:
    """The value as it may be sent back: short, and of JSON's simple types."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)[:VALUE_LIMIT]
    text = value if isinstance(value, str) else _json(value)
    return text if len(text) <= VALUE_LIMIT else f"{text[:VALUE_LIMIT]}…"


def quoted(value: Any) -> str:
    """The value as a message shows it: a text in quotes, everything else as JSON."""
    return f"'{clipped(value)}'" if isinstance(value, str) else str(clipped(_json(value)))


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        # What can be read may be nested more deeply than what can be written.
        return "a deeply nested value"


def _path(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in loc)


def _invalid(problem: ErrorDetails) -> InvalidValue:
    path = _path(problem["loc"])
    name = path.rpartition(".")[2]
    value, expected = problem["input"], _expected(problem)
    if isinstance(expected, list):
        message = f"Invalid {name} value: {quoted(value)}. Valid values are: {', '.join(expected)}"
    else:
        message = f"Invalid {name} value: {quoted(value)}. Expected {expected}"
    return InvalidValue(message, field=path, value=value, expected=expected)


# Pydantic's kinds of problems in the words of somebody who never heard of Pydantic; `{…}` is its context.
_EXPECTED = {
    "string_type": "a string",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "greater_than_equal": "a number of at least {ge}",
    "less_than_equal": "a number of at most {le}",
    "string_too_short": "at least {min_length} {unit}",
    "string_too_long": "at most {max_length} {unit}",
    "too_short": "at least {min_length} {unit}",
    "too_long": "at most {max_length} {unit}",
    "value_error": "{error}",
}


def _expected(problem: ErrorDetails) -> str | list[str]:
    kind, context = problem["type"], problem.get("ctx", {})
    if kind in ("literal_error", "enum"):
        return re.findall(r"'([^']*)'", str(context["expected"]))
    if kind in _EXPECTED:
        unit = "character(s)" if isinstance(problem["input"], str) else "item(s)"
        return _EXPECTED[kind].format(unit=unit, **context)
    return problem["msg"][0].lower() + problem["msg"][1:]
