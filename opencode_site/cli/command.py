"""The base of the commands for people and scripts."""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import textwrap
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandParser, DjangoHelpFormatter
from django.db import DatabaseError, InterfaceError

from monitoring.publish import flush
from opencode_site.cli.exits import (
    MEANINGS,
    ExitCode,
    Failure,
    end_for_lack_of_a_reader,
    from_database,
    from_error,
)
from opencode_site.cli.terminal import Terminal, terminal, unwrapped
from opencode_site.ws.errors import ProtocolError
from tasks.errors import TaskError
from tasks.models import Task

MANUAL_WIDTH = 100
"""Columns of a help text on a terminal that has more."""
FLUSH_PATIENCE = 2.0
"""Seconds that a command waits for the broker to take its update messages. Without them the web processes
look into the database by themselves."""


def _filled(text: str, *, hanging: int = 0) -> str:
    """The text in lines of the terminal's width."""
    width = min(shutil.get_terminal_size().columns - 2, MANUAL_WIDTH)
    return textwrap.fill(text, width, subsequent_indent=" " * hanging)


class _Manual(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of description and examples."""


class Command(BaseCommand):
    """Ends with one line on stderr and an exit code of `ExitCode`, never with a traceback.

    A subclass does its work in `work`, which returns the exit code, and may raise `Failure`, the errors of
    tasks and of the protocol, and those of the database.
    """

    requires_system_checks: list[str] = []
    """`check` and `doctor` look at the installation; a look at the tasks should not take longer for it."""
    suppressed_base_arguments: set[str] = {
        *("--version", "--verbosity", "--settings", "--pythonpath"),
        *("--traceback", "--force-color", "--skip-checks"),
    }
    usage = ""
    examples: Sequence[tuple[str, str]] = ()
    """Command lines after `manage.py`, each with what it does."""
    exits: Sequence[ExitCode] = ()
    """The exit codes beside those that every command has."""
    meanings: Mapping[ExitCode, str] = MappingProxyType({})
    """What codes mean here, where that is not what they mean elsewhere."""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(
            prog_name,
            subcommand,
            usage=f"manage.py {subcommand} {self.usage}",
            epilog=self._epilog(),
            formatter_class=_Manual,
            **kwargs,
        )
        parser.description = _filled(" ".join(self.help.split()))
        return parser

    def _epilog(self) -> str:
        common = (ExitCode.DONE, ExitCode.BAD_INPUT, ExitCode.DATABASE)
        ends = (ExitCode.INTERRUPTED, ExitCode.BROKEN_PIPE)
        codes = sorted({*common, *self.exits, *ends})
        examples = [f"  # {what}\n  manage.py {how}" for how, what in self.examples]
        told = {**MEANINGS, **self.meanings}
        meanings = [_filled(f"  {code:>3}  {told[code]}", hanging=7) for code in codes]
        return "\n".join(["examples:", *examples, "", "exit codes:", *meanings])

    @cached_property
    def out(self) -> Terminal:
        """Where the results go."""
        return terminal(unwrapped(self.stdout), no_color=self._no_color)

    @cached_property
    def err(self) -> Terminal:
        """Where words for people go that a script would not want among the results."""
        return terminal(unwrapped(self.stderr), no_color=self._no_color)

    def handle(self, *args: Any, no_color: bool, **options: Any) -> None:
        self._no_color = no_color
        for name in ("monitoring.publish", "tasks.queue"):
            # That the broker is away costs seconds and no work: nothing to show a traceback for.
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            code = self.work(options)
            self.out.file.flush()
        except Failure as failure:
            self._fail(failure)
        except (ProtocolError, TaskError) as error:
            self._fail(from_error(error))
        except (DatabaseError, InterfaceError) as error:
            self._fail(from_database(error))
        except BrokenPipeError:
            end_for_lack_of_a_reader()
        if code:
            sys.exit(code)

    def work(self, options: dict[str, Any]) -> ExitCode:
        """Does what the options ask for."""
        raise NotImplementedError

    def _fail(self, failure: Failure) -> NoReturn:
        self.complain(failure)
        sys.exit(failure.code)

    def complain(self, failure: Failure) -> None:
        """One line on stderr."""
        self.stderr.write(printable(f"error: {failure}"))

    def each(self, ids: Sequence[str], act: Callable[[str], Task]) -> tuple[list[Task], ExitCode]:
        """Does one thing to many tasks; one that is refused is told and does not stop the others. The exit
        code is that of the first refusal."""
        done, code = [], ExitCode.DONE
        for task_id in dict.fromkeys(ids):
            try:
                done.append(act(task_id))
            except TaskError as error:
                failure = from_error(error)
                self.complain(failure)
                code = code or failure.code
        return done, code

    def write_json(self, value: object) -> None:
        """Without a terminal's escapes: everything beyond ASCII is escaped by JSON itself."""
        self.stdout.write(json.dumps(value, indent=2))

    def tell_subscribers(self) -> None:
        """Gives the broker a moment to take the update messages, which would else end with the process."""
        waiting = threading.Thread(target=flush, daemon=True)
        waiting.start()
        waiting.join(FLUSH_PATIENCE)


def printable(text: str) -> str:
    """The line without control characters, which may have come in by an argument."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
