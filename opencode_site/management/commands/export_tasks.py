"""`manage.py export_tasks`: tasks as a file, for another installation or for keeping."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from django.conf import settings

from opencode_site.cli import command
from opencode_site.cli.command import printable
from opencode_site.cli.exits import ExitCode, Failure
from opencode_site.portable.files import written_beside
from opencode_site.portable.records import header, record_of
from tasks.models import Status, Task


class Command(command.Command):
    help = """
        Writes tasks with their statuses and times to a file (mode 0600) or to stdout. Runs and logs are no
        part of it. `import_tasks` reads it, here or in another installation.
        """
    usage = "[options] [FILE]"
    examples = (
        ("export_tasks tasks.jsonl", "all tasks"),
        (
            "export_tasks --status pending | ssh other 'manage.py import_tasks -'",
            "what waits, to another host",
        ),
    )
    exits = (ExitCode.REFUSED,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "file", nargs="?", default="-", metavar="FILE", help="where to; - is stdout, the default"
        )
        parser.add_argument(
            "--status", action="append", choices=Status.values, help="only tasks with it; may be repeated"
        )
        parser.add_argument(
            "--format",
            choices=("jsonl", "json"),
            default="jsonl",
            help="jsonl: a header and then a task per line (the default); json: one document",
        )
        parser.add_argument("--force", action="store_true", help="replace the file if it exists")

    def work(self, options: dict[str, Any]) -> ExitCode:
        tasks = Task.objects.order_by("created_at", "pk").prefetch_related("needs")
        if options["status"]:
            tasks = tasks.filter(status__in=options["status"])
        parts = (_lines if options["format"] == "jsonl" else _document)(_records(tasks))
        file = options["file"]
        if file == "-":
            for _, text in parts:
                self.stdout.write(text, ending="")
            return ExitCode.DONE
        try:
            with (
                written_beside(Path(file), overwrite=options["force"]) as part,
                part.open("w", encoding="utf-8") as out,
            ):
                count = _write(parts, out)
        except FileExistsError as error:
            raise Failure(f"cannot write {file}: {error.strerror or error}", ExitCode.REFUSED) from error
        except OSError as error:
            raise Failure(f"cannot write {file}: {error.strerror or error}", ExitCode.BAD_INPUT) from error
        self.stderr.write(printable(f"{count:,} task{'' if count == 1 else 's'} written to {file}"))
        return ExitCode.DONE


def _records(tasks: Any) -> Iterator[str]:
    project = str(Path(settings.PROJECT_DIR).resolve())
    for task in tasks.iterator(chunk_size=1000):
        yield json.dumps(record_of(task, project_dir=project), ensure_ascii=False)


def _lines(records: Iterator[str]) -> Iterator[tuple[int, str]]:
    yield 0, json.dumps(header()) + "\n"
    for record in records:
        yield 1, record + "\n"


def _document(records: Iterator[str]) -> Iterator[tuple[int, str]]:
    yield 0, json.dumps(header())[:-1] + ', "tasks": ['
    before = "\n"
    for record in records:
        yield 1, before + record
        before = ",\n"
    yield 0, "\n]}\n"


def _write(parts: Iterator[tuple[int, str]], out: TextIO) -> int:
    count = 0
    for tasks, text in parts:
        out.write(text)
        count += tasks
    return count
