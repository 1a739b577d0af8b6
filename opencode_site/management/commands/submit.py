"""`manage.py submit`: queues a task, and follows it if asked."""

from __future__ import annotations

import os
import secrets
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from monitoring.events import LogRecord
from opencode_site.cli import command
from opencode_site.cli.exits import OUTCOMES, ExitCode, Failure
from opencode_site.cli.following import Follower, Look
from opencode_site.cli.lines import log_line
from opencode_site.cli.options import milliseconds, whole
from opencode_site.ws.errors import from_validation
from opencode_site.ws.schemas.tasks import StartTask, new_task, task_record
from tasks import selectors, services
from tasks.models import FINISHED, MAX_DESCRIPTION, Status, Task


class Command(command.Command):
    help = """
        Queues a task for an agent and prints its id. The description comes from the arguments, from --file,
        or from stdin (-). The server need not run: the task then waits for it.
        """
    usage = "[options] (DESCRIPTION... | --file FILE | -)"
    examples = (
        ("submit Write a haiku into haiku.txt", "queue it and go on"),
        ("submit --type testing --timeout 30m --follow Run the tests and mend what fails", "look on"),
        (
            "submit --file plan.md --id plan-1 --working-dir . --wait && echo done",
            "a script goes by the outcome",
        ),
        ("submit --depends-on plan-1 --priority high - < review.md", "after another task, from stdin"),
    )
    exits = (ExitCode.FAILED, ExitCode.CANCELLED, ExitCode.NOT_FOUND, ExitCode.REFUSED)
    meanings = MappingProxyType({ExitCode.DONE: "done; with --wait or --follow: the task is completed"})

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("description", nargs="*", metavar="DESCRIPTION", help="what to do, or - to read it from stdin")
        add("--file", metavar="FILE", help="read the description from a file")
        add("--id", help="the task's id; by default one is made")
        add("--type", default="task", help="a lowercase slug, like testing; 'task' by default")
        add("--priority", default="medium", help="low, medium (the default) or high")
        add("--timeout", metavar="TIME", help="90s, 30m, 2h, 1d, or milliseconds; 7 days by default")
        add(
            "--depends-on",
            action="append",
            default=[],
            metavar="ID",
            help="start after this task; repeatable",
        )
        add(
            "--working-dir",
            metavar="DIR",
            help="where the agent works, seen from here; inside an allowed root",
        )
        add("--agent", help="the agent that is to do it; opencode by default")
        add("--model", help="provider/model; by default the server's")
        add("--max-retries", metavar="N", help="times that a failure worth it is tried again by itself; 0")
        add("--files-pattern", metavar="GLOB", help="the files that it is about, like '**/*.py'")
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--wait", action="store_true", help="wait for the end; the exit code is the outcome")
        how.add_argument("--follow", action="store_true", help="--wait, and show the agent's log meanwhile")
        add(
            "--json",
            action="store_true",
            help="print the task as JSON instead of its id, at the end if waiting",
        )

    def work(self, options: dict[str, Any]) -> ExitCode:
        task = services.submit(new_task(_request(options).task))
        self.tell_subscribers()
        if not options["json"]:
            self.out.print(task.pk, soft_wrap=True)
            self.out.file.flush()
        if options["wait"] or options["follow"]:
            task = self._follow(task, with_log=options["follow"])
        if options["json"]:
            self.write_json(task_record(task).model_dump(mode="json"))
        return OUTCOMES.get(Status(task.status), ExitCode.DONE)

    def _follow(self, task: Task, *, with_log: bool) -> Task:
        """Shows the way on stderr, so that stdout keeps the result alone."""
        follower = Follower([task.pk])
        follower.from_the_beginning()
        with _bar(self.err) as bar:
            shown = bar.add_task("pending", total=None)
            for look in follower.looks():
                self._show(look, bar, with_log=with_log)
                task = selectors.get_task(task.pk)
                word, why = selectors.runtime(task)
                total = 100 if task.progress or task.status in FINISHED else None
                bar.update(shown, description=word if word != "queued" else why, total=total)
                bar.update(shown, completed=task.progress)
        if task.status != Status.COMPLETED:
            self.complain(
                Failure(f"the task is {task.status}: {task.error or 'on request'}", ExitCode.FAILED)
            )
        return task

    def _show(self, look: Look, bar: Progress, *, with_log: bool) -> None:
        for update in look.updates:
            if with_log and isinstance(update, LogRecord):
                bar.console.print(log_line(update), soft_wrap=True)


@contextmanager
def _bar(console: Any) -> Iterator[Progress]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
    )
    with Progress(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal, transient=True
    ) as bar:
        yield bar


def _request(options: dict[str, Any]) -> StartTask:
    """Validated by the same schema as `start_task`."""
    fields = {name: options[name] for name in ("type", "priority", "agent", "model", "files_pattern")}
    if options["working_dir"] is not None:
        fields["working_dir"] = os.path.abspath(options["working_dir"]) if options["working_dir"] else ""
    fields |= {
        "id": options["id"] if options["id"] is not None else f"task-{secrets.token_hex(5)}",
        "description": _description(options["description"], options["file"]),
        "timeout": milliseconds(options["timeout"]),
        "max_retries": whole(options["max_retries"]),
        "dependencies": options["depends_on"],
    }
    try:
        return StartTask.model_validate({"type": "start_task", "task": fields})
    except ValidationError as error:
        raise from_validation(error) from error


def _description(words: list[str], file: str | None) -> str:
    """Raises `Failure`."""
    if bool(words) == (file is not None):
        raise Failure(
            "give the description once: as arguments, by --file FILE, or - for stdin", ExitCode.BAD_INPUT
        )
    if words and words != ["-"]:
        return " ".join(words)
    # One byte more than the longest that is allowed, so that an endless input ends, refused by the schema.
    limit = 4 * MAX_DESCRIPTION + 1
    try:
        if file is None or file == "-":
            raw = sys.stdin.buffer.read(limit)
        else:
            with Path(file).open("rb") as opened:
                raw = opened.read(limit)
        return raw.decode()
    except OSError as error:
        raise Failure(f"cannot read {file}: {error.strerror}", ExitCode.BAD_INPUT) from error
    except UnicodeDecodeError as error:
        raise Failure("the description is not text in UTF-8", ExitCode.BAD_INPUT) from error
