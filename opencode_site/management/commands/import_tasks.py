"""`manage.py import_tasks`: tasks from a file, each once however often it is done."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.db import connection

from opencode_site.cli import command
from opencode_site.cli.command import printable
from opencode_site.cli.exits import ExitCode, Failure
from opencode_site.portable.importing import Choices, Outcome, Refused, import_records
from opencode_site.portable.reading import Source, UnreadableFile, records
from opencode_site.serve.database import migrate
from opencode_site.serve.preflight import CannotServe
from tasks.models import Status, Task


class Command(command.Command):
    help = """
        Reads tasks from a file that export_tasks wrote, or from the original system's .claude directory,
        tasks.json or task_status.json. Pending tasks are queued; finished ones are kept as they ended and
        never run; those that were running are skipped. What is here already stays as it is, so that it may be
        done again.
        """
    usage = "[options] FILE"
    examples = (
        ("import_tasks tasks.jsonl", "what is not here yet"),
        ("import_tasks --dry-run ~/old/.claude", "what the original system's would become"),
    )
    exits = (ExitCode.REFUSED,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "file", metavar="FILE", help="the file, the original system's .claude directory, or - for stdin"
        )
        parser.add_argument(
            "--status", action="append", choices=Status.values, help="only tasks with it; may be repeated"
        )
        parser.add_argument(
            "--all-or-nothing", action="store_true", help="import nothing if a task is refused"
        )
        parser.add_argument(
            "--requeue-running", action="store_true", help="queue what was running, from its beginning"
        )
        parser.add_argument("--working-dir", help="where all the tasks are to work, whatever the file says")
        parser.add_argument("--dry-run", action="store_true", help="only say what would be done")

    def work(self, options: dict[str, Any]) -> ExitCode:
        dry_run = options["dry_run"]
        try:
            found = records(_source(options["file"]))
        except UnreadableFile as error:
            raise Failure(str(error), ExitCode.BAD_INPUT) from error
        try:
            # An import may be the first thing that a new installation sees.
            if Task._meta.db_table not in connection.introspection.table_names():
                migrate()
        except CannotServe as error:
            raise Failure(str(error), ExitCode.DATABASE) from error
        choices = Choices(
            statuses=frozenset(options["status"] or ()),
            requeue_running=options["requeue_running"],
            working_dir=options["working_dir"],
        )
        try:
            outcome = import_records(
                found, choices, all_or_nothing=options["all_or_nothing"], dry_run=dry_run
            )
        except Refused as refused:
            self._report(refused.outcome, dry_run=dry_run)
            raise Failure("nothing was imported, as --all-or-nothing asks", ExitCode.REFUSED) from refused
        self._report(outcome, dry_run=dry_run)
        return ExitCode.REFUSED if outcome.refused else ExitCode.DONE

    def _report(self, outcome: Outcome, *, dry_run: bool) -> None:
        for word, pairs in (("refused", outcome.refused), ("skipped", outcome.skipped)):
            for task_id, reason in pairs:
                self.stderr.write(printable(f"{word}: {task_id}: {reason}"))
        done = "would be imported" if dry_run else "imported"
        self.stdout.write(
            f"{len(outcome.imported)} {done}, {len(outcome.present)} here already, "
            f"{len(outcome.skipped)} skipped, {len(outcome.refused)} refused"
        )


def _source(file: str) -> Source:
    try:
        if file == "-":
            return Source(name="stdin", text=sys.stdin.buffer.read().decode("utf-8-sig"))
        path = Path(file)
        if path.is_dir():
            path = next(
                (path / name for name in ("tasks.json", "task_status.json") if (path / name).exists()),
                path / "tasks.json",
            )
        return Source(name=str(path), text=path.read_text(encoding="utf-8-sig"), beside=path.parent)
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"{file} is not UTF-8 text: {error.reason}") from error
    except OSError as error:
        raise UnreadableFile(f"cannot read {error.filename or file}: {error.strerror}") from error
