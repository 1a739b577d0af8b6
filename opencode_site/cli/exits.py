"""What can go wrong in a command, as one line and an exit code."""

from __future__ import annotations

import enum
import os
import sys
from typing import NoReturn

from django.db import DatabaseError, InterfaceError, connection

from opencode_site.serve.database import missing_migrations
from opencode_site.ws.errors import Code, ProtocolError, from_task_error
from tasks.errors import TaskError
from tasks.models import Status


class ExitCode(enum.IntEnum):
    """One for each thing that a script may want to tell apart."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    CANCELLED = 3
    NOT_FOUND = 4
    DATABASE = 5
    REFUSED = 6
    INTERRUPTED = 130
    BROKEN_PIPE = 141


MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "the task has failed",
    ExitCode.BAD_INPUT: "wrong usage, a wrong value or a wrong setting",
    ExitCode.CANCELLED: "the task was cancelled",
    ExitCode.NOT_FOUND: "no task, or no key, has this id",
    ExitCode.DATABASE: "the database is missing, out of date or away",
    ExitCode.REFUSED: "refused as things are: a status, an id or a file that is taken, a server that runs",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C; tasks and agents go on",
    ExitCode.BROKEN_PIPE: "whoever read the output has closed it",
}
OUTCOMES = {
    Status.COMPLETED: ExitCode.DONE,
    Status.FAILED: ExitCode.FAILED,
    Status.CANCELLED: ExitCode.CANCELLED,
}
_CODES = {Code.TASK_NOT_FOUND: ExitCode.NOT_FOUND, Code.TASK_ALREADY_EXISTS: ExitCode.REFUSED}


class Failure(Exception):
    """The command cannot do what it was asked for; the message tells how to mend it."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(" ".join(message.split()))
        self.code = code


def end_for_lack_of_a_reader() -> NoReturn:
    """Ends the process after a `BrokenPipeError`."""
    # What is still buffered must not be tried again at the end of the interpreter.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(ExitCode.BROKEN_PIPE)


def from_error(error: ProtocolError | TaskError) -> Failure:
    """The failure with the words of the protocol."""
    told = from_task_error(error) if isinstance(error, TaskError) else error
    wrong_status = told.details.get("field") == "status" and isinstance(error, TaskError)
    code = ExitCode.REFUSED if wrong_status else _CODES.get(told.code, ExitCode.BAD_INPUT)
    return Failure(told.message, code)


def from_database(error: DatabaseError | InterfaceError) -> Failure:
    """Says what is wrong with the database, as far as it still answers."""
    problem = " ".join(str(error).split())
    try:
        connection.close()
        missing = missing_migrations()
    except (DatabaseError, InterfaceError) as away:
        return Failure(
            f"the database cannot be reached: {away}; is it running, and is DATABASE_URL right?",
            ExitCode.DATABASE,
        )
    if missing:
        return _lacks(missing)
    return Failure(f"the database has refused: {problem}", ExitCode.DATABASE)


def require_tables() -> None:
    """For what would not notice that there are none; an earlier version's will do. Raises `Failure`."""
    if not connection.introspection.table_names():
        raise _lacks(missing_migrations())


def _lacks(missing: int) -> Failure:
    return Failure(
        f"the database lacks {missing} migrations: run `manage.py migrate`, or `make serve` once; "
        "or is OPENCODE_DATA_DIR or DATABASE_URL another one than the server's?",
        ExitCode.DATABASE,
    )
