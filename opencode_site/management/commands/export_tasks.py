"""`manage.py export_tasks`: tasks as a file, for another installation or for keeping."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from opencode_site.cli.exits import end_for_lack_of_a_reader
from opencode_site.portable.files import written_beside
from opencode_site.portable.records import header, record_of
from tasks.models import Status, Task


class Command(BaseCommand):
    help = (
        "Writes tasks with their statuses and times to a file (mode 0600) or to stdout. Runs and logs are "
        "no part of it. Examples: manage.py export_tasks tasks.jsonl; "
        "manage.py export_tasks --status pending --status failed | ssh other 'manage.py import_tasks -'"
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", nargs="?", default="-", help="where to; - is stdout, the default")
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

    def handle(self, *_: Any, file: str, force: bool, **options: Any) -> None:
        tasks = Task.objects.order_by("created_at", "pk").prefetch_related("needs")
        if options["status"]:
            tasks = tasks.filter(status__in=options["status"])
        parts = (_lines if options["format"] == "jsonl" else _document)(_records(tasks))
        try:
            self._write_to(file, parts, force=force)
        except DatabaseError as error:
            problem = " ".join(str(error).split())
            raise CommandError(
                f"the database cannot be read: {problem}; see DATABASE_URL, or run `manage.py migrate`",
                returncode=2,
            ) from error

    def _write_to(self, file: str, parts: Iterator[tuple[int, str]], *, force: bool) -> None:
        if file == "-":
            self._to_stdout(parts)
            return
        try:
            with written_beside(Path(file), overwrite=force) as part, part.open("w", encoding="utf-8") as out:
                count = _write(parts, out)
        except OSError as error:
            raise CommandError(f"cannot write {file}: {error.strerror or error}", returncode=2) from error
        self.stderr.write(f"{count:,} task{'' if count == 1 else 's'} written to {file}")

    def _to_stdout(self, parts: Iterator[tuple[int, str]]) -> None:
        try:
            for _, text in parts:
                self.stdout.write(text, ending="")
            self.stdout.flush()
        except BrokenPipeError:
            end_for_lack_of_a_reader()


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
